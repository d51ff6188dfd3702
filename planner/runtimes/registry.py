"""The runtimes known to planning. A new engine is one more profile in this table."""

from planner.errors import InvalidRequestError
from planner.runtimes.profile import RuntimeProfile, formats_own_refusal, formats_own_size
from planner.runtimes.vllm import VLLM

GENERIC = RuntimeProfile(
    name="generic",
    description="No engine in particular: every layer may take every format, nothing is tied, sizes are the formats' own.",
    ignore_kinds=frozenset({"lm_head"}),
    tied_kinds=(),
    tie_experts=False,
    size_bits=formats_own_size,
    refusal=formats_own_refusal,
    exports=("json", "compressed-tensors"),
)

RUNTIMES = {profile.name: profile for profile in (GENERIC, VLLM)}


def get_runtime(name: str) -> RuntimeProfile:
    """The profile of that name.

    Raises:
        InvalidRequestError: no such runtime; the message lists those that exist.
    """
    try:
        return RUNTIMES[name]
    except KeyError:
        msg = f"unknown runtime {name!r}: use one of {', '.join(RUNTIMES)}"
        raise InvalidRequestError(msg, runtimes=sorted(RUNTIMES)) from None
