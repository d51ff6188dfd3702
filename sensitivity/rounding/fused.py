"""Projections that engines fuse into one matrix, and the encoding of such a matrix.

What is stored once a tensor is stored once for the fused matrix: vLLM keeps one global scale of NVFP4 for q, k and v, that of the
first or the greatest shard whatever the others have, and warns at most. So the shards are encoded as the one matrix that they
will be, by whatever method; every other scale belongs to rows or groups and stays the same.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.rounding.codec import Encoded, Scaling

FUSED_KINDS: Final = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"))
"""Last parts of the names of shards, in the order in which engines put them together."""


def shards_of(layer: str, layers: Collection[str]) -> tuple[str, ...]:
    """The layers that are fused with one, itself among them, in the engines' order; one alone is its own shard."""
    parent, _, kind = layer.rpartition(".")
    kinds = next((kinds for kinds in FUSED_KINDS if kind in kinds), (kind,))
    names = [f"{parent}.{one}" if parent else one for one in kinds]
    return tuple(name for name in names if name in layers)


def shares_a_scale(fmt: CandidateFormat) -> bool:
    """Whether a format stores a scale of groups under a scale of the tensor."""
    return fmt.strategy is Strategy.TENSOR_GROUP


def split_rows(encoded: Encoded, rows: Sequence[int]) -> list[Encoded]:
    """The shards of a fused matrix in a format that ``shares_a_scale``, by their numbers of rows; none shares memory."""
    found = []
    start = 0
    for count in rows:
        scaling = None if encoded.scaling is None else _rows(encoded.scaling, start, start + count)
        codes = encoded.codes[start : start + count].clone()
        found.append(Encoded(encoded.format, (count, encoded.shape[1]), codes, scaling))
        start += count
    return found


def _rows(scaling: Scaling, start: int, stop: int) -> Scaling:
    greatest = None if scaling.global_scale is None else scaling.global_scale.clone()
    return Scaling(scaling.stored[start:stop].clone(), scaling.effective[start:stop].clone(), global_scale=greatest)
