"""Projections that engines fuse into one matrix, and the encoding of such a matrix.

What is stored once a tensor is stored once for the fused matrix: vLLM keeps one global scale of NVFP4 for q, k and v, that of the
first or the greatest shard whatever the others have, and warns at most. So the shards are encoded as the one matrix that they
will be, by whatever method; every other scale belongs to rows or groups and stays the same.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.rounding.codec import Encoded

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
    """The shards of a fused matrix in a format that ``shares_a_scale``, by their numbers of rows."""
    found = []
    start = 0
    for count in rows:
        stop = start + count
        scaling = encoded.scaling
        if scaling is not None:
            scaling = replace(scaling.rows(start, stop), stored=scaling.stored[start:stop])
        found.append(Encoded(encoded.format, (count, encoded.shape[1]), encoded.codes[start:stop].contiguous(), scaling))
        start = stop
    return found
