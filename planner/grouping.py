"""Layers that share a format because somebody wants them to, beside what the runtime ties."""

from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sensitivity.checkpoint.description import Layer

MEASURED_TOGETHER = "measured_together"
"""Parameter of a probe setting: the ``Tying`` of layers whose losses are only known together."""


class Tying(StrEnum):
    """Which layers share a format."""

    FREE = "free"
    BLOCK = "block"
    PROJECTION = "projection"
    MODULE = "module"


def tied(layers: Sequence[Layer], tying: Tying) -> list[tuple[int, ...]]:
    """Groups as indices into ``layers``, in order of their first member; layers that are tied to nothing are alone.

    - ``free``: every layer alone.
    - ``block``: all routed experts of a block.
    - ``projection``: the routed experts of a block, each projection for itself.
    - ``module``: all layers of a module of a block (attention, MLP), and all routed experts of a block.
    """
    members: dict[Hashable, list[int]] = {}
    for index, layer in enumerate(layers):
        members.setdefault(_key(layer, tying), []).append(index)
    return [tuple(indices) for indices in members.values()]


def merged(count: int, groupings: Iterable[Sequence[Sequence[int]]]) -> list[tuple[int, ...]]:
    """The finest groups that keep every group of every grouping together, in order of their first member.

    Args:
        count: how many layers there are.
        groupings: groups of indices below ``count``.
    """
    from scipy.sparse import coo_array  # megabytes that most requests do without
    from scipy.sparse.csgraph import connected_components

    pairs = [(group[0], other) for grouping in groupings for group in grouping for other in group[1:]]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(index)
    return [tuple(indices) for indices in members.values()]


def _key(layer: Layer, tying: Tying) -> Hashable:
    if layer.expert is not None and tying in (Tying.BLOCK, Tying.MODULE):
        return layer.block
    if layer.expert is not None and tying is Tying.PROJECTION:
        return layer.block, layer.kind
    if layer.block is not None and tying is Tying.MODULE:
        return layer.name.rpartition(".")[0]
    return layer.name


def ranked(layers: Sequence[Layer], losses: NDArray[np.float64], groups: int) -> list[tuple[int, ...]]:
    """The routed experts of each block in groups by their sensitivity: from those that lose least to those that lose most.

    An expert's sensitivity is the sum of its layers' losses over all formats; one with a loss that nobody knows counts among
    those that lose most. The groups of a block are of equal size, give or take one expert.

    Args:
        layers: planned layers.
        losses: float64 (layers, formats); NaN where there is no number.
        groups: how many groups a block's experts are put in; no more than there are experts.

    Returns:
        Groups as indices into ``layers``; layers that are no experts are alone.
    """
    experts: dict[int | None, dict[int, list[int]]] = {}
    for index, layer in enumerate(layers):
        if layer.expert is not None:
            experts.setdefault(layer.block, {}).setdefault(layer.expert, []).append(index)
    found = [(index,) for index, layer in enumerate(layers) if layer.expert is None]
    for of_block in experts.values():
        members = list(of_block.values())
        sums = np.array([losses[indices].sum() for indices in members])
        order = np.argsort(np.where(np.isnan(sums), np.inf, sums), kind="stable")
        for part in np.array_split(order, min(groups, len(members))):
            found.append(tuple(sorted(index for expert in part.tolist() for index in members[expert])))
    return sorted(found)
