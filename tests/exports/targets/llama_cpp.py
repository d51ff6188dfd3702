"""llama.cpp, whose GGUF files transformers loads too: tensors by GGUF's names, experts of a projection are one.

Mixtral is left out: transformers reads no experts of GGUF's ``llama`` architecture. Norms and routers are in float32 in the file.
"""

import re
from pathlib import Path

from gguf import GGUFReader

from sensitivity.formats.candidate import CandidateFormat
from tests.exports.target import Resolved, Target

ROLES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def _resolved(candidate: CandidateFormat) -> Resolved:
    return {"type": candidate.name}


def _stored_as(name: str) -> str:
    if name == "lm_head":
        return "output"
    _, _, block, *path = name.split(".")
    return f"blk.{block}.{ROLES[path[-1]]}{'_exps' if 'experts' in path else ''}"


def _tensors(directory: Path) -> dict[str, int]:
    return {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(directory / "model.gguf").tensors}


def _holder(tensor: str) -> str | None:
    return None if re.search(r"bias$|_norm", tensor) else tensor.removesuffix(".weight")


TARGET = Target(
    name="llama.cpp",
    engine="llama_cpp",
    runtime="llama.cpp",
    resolved=_resolved,
    tolerance=1e-4,
    weights="float32",
    own_environment=False,
    stored_as=_stored_as,
    tensors=_tensors,
    holder=_holder,
)
