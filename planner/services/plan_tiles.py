"""A plan by tiles: what a picture of it shows, however many experts there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.runtimes.profile import RuntimeProfile
from planner.schemas.tiles import Tile
from planner.services.layer_tiles import LayerTiles
from planner.services.whole_problem import WholeProblem
from planner.solving.caches import TENSORS


@dataclass(frozen=True, slots=True, eq=False)
class Tiling:
    """Layers of a problem, and its caches, by tile: the same for every assignment, context and batch.

    Attributes:
        model: tiles of the whole model.
        shown: int64 (tiles,): those that layers of the problem are of, in model order.
        piece: int64 (layers,): piece of each layer; the layers of a piece are of one tile and one shape.
        firsts: int64 (pieces,): first layer of each piece.
        tile: int64 (pieces,): which of the shown tiles each piece is of.
        layers: int64 (tiles,): layers of each shown tile.
        elements: int64 (tiles,): weights of each shown tile; of one of caches, its layers.
    """

    model: LayerTiles
    shown: NDArray[np.int64]
    piece: NDArray[np.int64]
    firsts: NDArray[np.int64]
    tile: NDArray[np.int64]
    layers: NDArray[np.int64]
    elements: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """Memory, about, beside the tiles of the model."""
        return self.piece.nbytes + 16 * len(self.firsts) + 24 * len(self.shown)

    def tiles(self, whole: WholeProblem, choice: NDArray[np.int64], runtime: RuntimeProfile) -> list[Tile]:
        """The tiles of an assignment, in model order, those of caches behind those of weights.

        Args:
            whole: the problem, at any context and batch.
            choice: int64 (groups,): columns of the problem.
            runtime: whose packing counts the bits of weights.
        """
        classes = whole.classes
        shape = len(self.firsts), len(classes.formats)
        places = self.piece * shape[1] + choice[classes.group_of_layer]
        taken = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
        given: list[dict[str, int]] = [{} for _ in self.shown]
        bits = [0] * len(given)
        known: dict[tuple[tuple[int, int], int], int] = {}
        pieces, columns = np.nonzero(taken)
        rows = (self.firsts[pieces], self.tile[pieces], columns, taken[pieces, columns])
        for first, at, column, count in zip(*(row.tolist() for row in rows), strict=True):
            key = classes.layers[first].shape, column
            if key not in known:
                known[key] = _bits(whole, key[0], column, runtime)
            name = whole.format_name(first, column)
            given[at][name] = given[at].get(name, 0) + count
            bits[at] += known[key] * count
        counts = zip(self.shown.tolist(), self.layers.tolist(), self.elements.tolist(), given, bits, strict=True)
        return [
            Tile(**self.model.tiles[at].named(layers), bits=stored / elements, formats=by_count(formats))
            for at, layers, elements, formats, stored in counts
        ]


def _bits(whole: WholeProblem, shape: tuple[int, int], column: int, runtime: RuntimeProfile) -> int:
    """Stored bits of a layer; of a cache, whose tokens are not told here, bits of an element."""
    own = whole.posed.classes.formats
    return runtime.size_bits(own[column], shape) if column < len(own) else whole.classes.formats[column].num_bits or 0


def by_count(formats: dict[str, int]) -> dict[str, int]:
    """Formats with how many layers have them, the most frequent first, equal ones by name."""
    return formats if len(formats) < 2 else dict(sorted(formats.items(), key=lambda item: (-item[1], item[0])))


def tiling_of(whole: WholeProblem, model: LayerTiles) -> Tiling:
    """The layers of a problem by the tiles of their model."""
    layers = whole.classes.layers
    places = model.places_of(layer.name for layer in layers)
    shown, tile = np.unique(model.tile[places], return_inverse=True)
    shapes: dict[tuple[int, int], int] = {}
    shape = np.array([shapes.setdefault(layer.shape, len(shapes)) for layer in layers], dtype=np.int64)
    pieces, firsts, piece = np.unique(tile * max(1, len(shapes)) + shape, return_index=True, return_inverse=True)
    piece.setflags(write=False)
    counted = np.bincount(tile, minlength=len(shown))
    weights = np.zeros(len(shown), dtype=np.int64)
    np.add.at(weights, tile, model.weights[places])
    is_cache = np.array([model.tiles[at].kind in TENSORS for at in shown.tolist()], dtype=bool)
    return Tiling(model, shown, piece, firsts, pieces // max(1, len(shapes)), counted, np.where(is_cache, counted, weights))
