"""A plan by block and kind: what a picture of it shows, however many experts there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.runtimes.profile import RuntimeProfile
from planner.schemas.plan_previews import Tile
from planner.services.tile_patterns import of_experts
from planner.services.whole_problem import WholeProblem
from sensitivity.checkpoint.description import Layer


@dataclass(frozen=True, slots=True, eq=False)
class Tiling:
    """Layers of a problem, and its caches, by block and kind: the same for every assignment, context and batch.

    Attributes:
        of_layer: int64 (layers,): tile of each layer.
        firsts: first layer of each tile; the others of it have its shape.
        counts: layers of each tile.
        patterns: what rules call the layers of each tile.
    """

    of_layer: NDArray[np.int64]
    firsts: tuple[int, ...]
    counts: tuple[int, ...]
    patterns: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Memory, about."""
        return self.of_layer.nbytes + 200 * len(self.firsts)

    def tiles(self, whole: WholeProblem, choice: NDArray[np.int64], runtime: RuntimeProfile) -> list[Tile]:
        """The tiles of an assignment, in model order, those of caches behind those of weights.

        Args:
            whole: the problem, at any context and batch.
            choice: int64 (groups,): columns of the problem.
            runtime: whose packing counts the bits of weights.
        """
        classes = whole.classes
        shape = len(self.firsts), len(classes.formats)
        places = self.of_layer * shape[1] + choice[classes.group_of_layer]
        taken = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
        columns: list[dict[int, int]] = [{} for _ in self.firsts]
        for tile, column in np.argwhere(taken).tolist():
            columns[tile][column] = int(taken[tile, column])
        known: dict[tuple[str, tuple[int, int], int], float] = {}
        found = []
        for tile, given in enumerate(columns):
            layer, bits = classes.layers[self.firsts[tile]], 0.0
            for column, count in given.items():
                key = (layer.kind, layer.shape, column)
                if key not in known:
                    known[key] = _bits_a_weight(whole, layer, column, runtime)
                bits += known[key] * count
            found.append(self._tile(whole, tile, given, bits))
        return found

    def _tile(self, whole: WholeProblem, tile: int, given: dict[int, int], bits: float) -> Tile:
        first = self.firsts[tile]
        layer = whole.classes.layers[first]
        return Tile(
            block=layer.block,
            kind=layer.kind,
            pattern=self.patterns[tile],
            layers=self.counts[tile],
            bits=bits / self.counts[tile],
            formats={whole.format_name(first, column): count for column, count in given.items()},
        )


def _bits_a_weight(whole: WholeProblem, layer: Layer, column: int, runtime: RuntimeProfile) -> float:
    """Stored bits ÷ weights; of a cache, whose tokens are not told here, bits of an element."""
    own = whole.posed.classes.formats
    if column < len(own):
        return runtime.size_bits(own[column], layer.shape) / layer.parameters
    return float(whole.classes.formats[column].num_bits or 0)


def tiling_of(whole: WholeProblem) -> Tiling:
    """The tiles of a problem: layers of one block, kind and shape, experts apart from those that are none."""
    layers = whole.classes.layers
    numbers: dict[tuple[int | None, str, bool, tuple[int, int]], int] = {}
    keys = [(layer.block, layer.kind, layer.expert is None, layer.shape) for layer in layers]
    of_layer = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    _, firsts, counts = np.unique(of_layer, return_index=True, return_counts=True)
    of_layer.setflags(write=False)
    patterns = tuple(_pattern(layers[first], count) for first, count in zip(firsts.tolist(), counts.tolist(), strict=True))
    return Tiling(of_layer, tuple(firsts.tolist()), tuple(counts.tolist()), patterns)


def _pattern(layer: Layer, count: int) -> str:
    """What a rule calls the layers of a tile: the experts of a block differ in the number of the expert."""
    return layer.name if layer.expert is None or count == 1 else of_experts(layer.name)
