"""A plan by block and kind: what a picture of it shows, however many experts there are."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.runtimes.profile import RuntimeProfile
from planner.schemas.plan_previews import Tile
from planner.services.whole_problem import WholeProblem
from sensitivity.checkpoint.description import Layer


@dataclass(frozen=True)
class Tiling:
    """Layers of a problem, and its caches, by block and kind.

    Attributes:
        whole: the problem.
        runtime: whose packing counts the bits of weights.
    """

    whole: WholeProblem
    runtime: RuntimeProfile

    def tiles(self, choice: NDArray[np.int64]) -> list[Tile]:
        """The tiles of an assignment, int64 (groups,), in model order, those of caches behind those of weights."""
        firsts, of_layer, counts = self._places
        formats = len(self.whole.classes.formats)
        columns = choice[self.whole.classes.group_of_layer]
        taken = np.bincount(of_layer * formats + columns, minlength=len(firsts) * formats).reshape(len(firsts), formats)
        bits = np.bincount(of_layer, weights=self._bits(columns), minlength=len(firsts)) / self._weights
        layers, name = self.whole.classes.layers, self.whole.format_name
        return [
            Tile(
                block=layers[first].block,
                kind=layers[first].kind,
                pattern=_pattern(layers[first], count),
                layers=count,
                bits=float(bits[tile]),
                formats={name(first, column): int(taken[tile, column]) for column in np.flatnonzero(taken[tile])},
            )
            for tile, (first, count) in enumerate(zip(firsts, counts, strict=True))
        ]

    @cached_property
    def _places(self) -> tuple[list[int], NDArray[np.int64], list[int]]:
        """First layer of each tile, tile of each layer, and layers of each tile."""
        tiles: dict[tuple[int | None, str, bool], int] = {}
        keys = [(layer.block, layer.kind, layer.expert is None) for layer in self.whole.classes.layers]
        of_layer = np.fromiter((tiles.setdefault(key, len(tiles)) for key in keys), dtype=np.int64, count=len(keys))
        _, firsts, counts = np.unique(of_layer, return_index=True, return_counts=True)
        return firsts.tolist(), of_layer, counts.tolist()

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """Weights of each tile; of a cache its stored bits are told for each element, of which it has one."""
        firsts, of_layer, _ = self._places
        weights = [float(layer.parameters) for layer in self.whole.classes.layers]
        return np.bincount(of_layer, weights=weights, minlength=len(firsts))

    def _bits(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Stored bits of each layer in its column; layers of one kind and shape in one format are computed once."""
        known: dict[tuple[str, tuple[int, int], int], float] = {}
        layers = self.whole.classes.layers
        found = np.empty(len(layers))
        for index, (layer, column) in enumerate(zip(layers, columns.tolist(), strict=True)):
            key = (layer.kind, layer.shape, column)
            bits = known.get(key)
            if bits is None:
                bits = known[key] = self._bits_of(index, column)
            found[index] = bits
        return found

    def _bits_of(self, index: int, column: int) -> float:
        layer, own = self.whole.classes.layers[index], self.whole.posed.classes.formats
        if column < len(own):
            return float(self.runtime.size_bits(own[column], layer.shape))
        return float(layer.parameters * (self.whole.classes.formats[column].num_bits or 0))


def _pattern(layer: Layer, count: int) -> str:
    """What a rule calls the layers of a tile: the experts of a block differ in the number of the expert."""
    if layer.expert is None or count == 1:
        return layer.name
    return layer.name.replace(f".experts.{layer.expert}.", ".experts.*.")
