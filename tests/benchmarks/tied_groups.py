"""Layers that an engine stores in one format."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer


def tied_groups(layers: Sequence[Layer]) -> NDArray[np.int64]:
    """Group of each layer, int64 (layers,), with the ties of vLLM in each block: q, k and v, gate and up."""
    tie = {kind: f"tie {number}" for number, kinds in enumerate(get_runtime("vllm").tied_kinds) for kind in kinds}
    group: NDArray[np.int64] = np.unique([f"{one.block} {tie.get(one.kind, one.kind)}" for one in layers], return_inverse=True)[1]
    return group
