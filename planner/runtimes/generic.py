"""No engine in particular."""

from planner.runtimes.kv_rules import ANY_KV
from planner.runtimes.profile import RuntimeProfile, formats_own_refusal, formats_own_size

RUNTIME = RuntimeProfile(
    name="generic",
    description="No engine in particular: every layer may take every format, nothing is tied, sizes are the formats' own.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=formats_own_size,
    refusal=formats_own_refusal,
    exports=("json", "compressed-tensors"),
    kv=ANY_KV,
)
