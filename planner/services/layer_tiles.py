"""The layers of a model as tiles: what every picture of blocks and layers draws, in the same rows and the same order.

A tile is one layer, or the experts of one projection of a block. A row holds the tiles of one path within the blocks:
``attn.c_proj`` and ``mlp.c_proj`` of GPT-2 are two rows though both are of kind ``c_proj``; so are a dense ``mlp.up_proj`` in the
first block, the ``mlp.experts.0.up_proj``, … of the others and a ``mlp.shared_expert.up_proj`` beside them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.services.planning_inputs import find_model, load_layers
from planner.services.tile_labels import row_labels
from planner.services.tile_patterns import pattern_of_experts, pattern_of_name
from planner.services.tile_rows import TileRow, row_of, row_paths
from planner.solving.caches import cache_layers
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer

_BYTES_OF_LAYER: Final = 230
_BYTES_OF_TILE: Final = 200
_DENSE: Final = -1
_MOST_ROWS: Final = 4


@dataclass(frozen=True, slots=True)
class LayerTile:
    """Layers that pictures show as one.

    Attributes:
        row: what its row is called; no other row of the model is called so.
        row_index: place of the row among those of the model, from 0.
        block: block of the layers; ``None`` outside of the blocks.
        kind: their kind.
        pattern: what rules call them: it matches these layers of the model and no others, so it names the tile too.
        is_of_experts: they are routed experts.
    """

    row: str
    row_index: int
    block: int | None
    kind: str
    pattern: str
    is_of_experts: bool

    def name(self, layers: int) -> str:
        """What the tile is called with so many layers: ``q_proj of block 3``, ``down_proj of block 3, 128 experts``."""
        where = self.row if self.block is None else f"{self.row} of block {self.block}"
        if not self.is_of_experts:
            return where
        return f"{where}, {layers} expert{'' if layers == 1 else 's'}"

    def named(self, layers: int) -> dict[str, Any]:
        """The fields of ``TileName`` with so many layers."""
        return {
            "row": self.row,
            "row_index": self.row_index,
            "name": self.name(layers),
            "block": self.block,
            "kind": self.kind,
            "pattern": self.pattern,
            "layers": layers,
        }


@dataclass(frozen=True, slots=True, eq=False)
class LayerTiles:
    """Tiles of a model.

    Attributes:
        tiles: in model order, those of caches behind those of weights.
        places: place of each layer in the arrays, by its name.
        tile: int64 (layers,): tile of each layer.
        weights: int64 (layers,): weights of each layer.
        expert: int64 (layers,): which expert each layer is of; -1 of dense layers.
    """

    tiles: tuple[LayerTile, ...]
    places: Mapping[str, int]
    tile: NDArray[np.int64]
    weights: NDArray[np.int64]
    expert: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """Memory, about."""
        return _BYTES_OF_LAYER * len(self.places) + _BYTES_OF_TILE * len(self.tiles)

    def places_of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Places of layers in the arrays, int64 (layers,)."""
        return np.array([self.places[name] for name in names], dtype=np.int64)

    def tile_of(self, name: str) -> LayerTile:
        """The tile of a layer."""
        return self.tiles[int(self.tile[self.places[name]])]

    def in_words(self, names: Sequence[str]) -> str:
        """Layers that share something: ``gate_proj, up_proj of block 3``, ``q_proj of block 3 and 4 more``.

        Args:
            names: of all of them, one at least.
        """
        places = self.places_of(names)
        experts = set(self.expert[places].tolist())
        found = [self.tiles[tile] for tile in dict.fromkeys(self.tile[places].tolist())]
        one_kind = len({(tile.block, tile.is_of_experts) for tile in found}) == 1
        if not one_kind or len(found) > _MOST_ROWS or len(names) != len(found) * len(experts):
            return self.in_words(names[:1]) + f" and {len(names) - 1} more"
        rows, block = ", ".join(tile.row for tile in found), found[0].block
        where = rows if block is None else f"{rows} of block {block}"
        if not found[0].is_of_experts:
            return where
        return f"{where}, expert {min(experts)}" if len(experts) == 1 else f"{where}, {len(experts)} experts"


def model_tiles(session: Session, key: str, layers: Sequence[Layer] | None = None) -> LayerTiles:
    """The tiles of a model, remembered.

    Args:
        session: a reader.
        key: id of the model, or its name.
        layers: all its layers, in model order, if they are at hand.

    Raises:
        NotFoundError: no such model.
    """
    model = find_model(session, key)
    return Database.of(session).memory.recall(
        ("layer tiles", model.id),
        lambda: tiles_of(_with_caches(model, load_layers(session, model.id) if layers is None else layers)),
        size=lambda made: made.bytes,
        version=(model.heads, model.kv_heads),  # known once a model that was registered long ago is registered again
        waiting=True,
    )


def _with_caches(model: ModelRow, layers: Sequence[Layer]) -> list[Layer]:
    """Layers, and caches behind them where the model's heads are known."""
    if model.heads is None or model.kv_heads is None:
        return list(layers)
    return [*layers, *(cache.layer for cache in cache_layers(layers, heads=model.heads, kv_heads=model.kv_heads))]


def tiles_of(layers: Sequence[Layer]) -> LayerTiles:
    """Group layers.

    Args:
        layers: all layers of a model, in model order; no two of one name.
    """
    keys, tile = _grouped(layers, frozenset())
    patterns = _patterns(layers, keys, tile)
    alone = {row for (row, _), pattern in zip(keys, patterns, strict=True) if pattern is None}
    if alone:  # no pattern matches these experts and nothing else
        keys, tile = _grouped(layers, alone)
        patterns = _patterns(layers, keys, tile)
    firsts = np.unique(tile, return_index=True)[1].tolist()
    kinds = {row: layers[first].kind for (row, _), first in zip(reversed(keys), reversed(firsts), strict=True)}
    rows = list(dict.fromkeys(row for row, _ in keys))
    labels = row_labels(row_paths(rows), [kinds[row] for row in rows])
    index = {row: at for at, row in enumerate(rows)}
    return LayerTiles(
        tiles=tuple(
            LayerTile(labels[index[row]], index[row], block, kinds[row], pattern or layers[first].name, row.is_of_experts)
            for (row, block), pattern, first in zip(keys, patterns, firsts, strict=True)
        ),
        places={layer.name: place for place, layer in enumerate(layers)},
        tile=tile,
        weights=np.array([layer.parameters for layer in layers], dtype=np.int64),
        expert=np.array([_DENSE if layer.expert is None else layer.expert for layer in layers], dtype=np.int64),
    )


def _grouped(layers: Sequence[Layer], alone: Collection[TileRow]) -> tuple[list[tuple[TileRow, int | None]], NDArray[np.int64]]:
    """Row and block of each tile, in model order, and the tile of each layer, int64 (layers,).

    Args:
        layers: in model order.
        alone: rows whose experts are tiles of their own.
    """
    numbers: dict[tuple[TileRow, int | None], int] = {}
    found = []
    for layer in layers:
        row = row_of(layer.name, layer.block, layer.expert)
        if row in alone:
            row = row_of(layer.name, layer.block, None)
        found.append(numbers.setdefault((row, layer.block), len(numbers)))
    return list(numbers), np.array(found, dtype=np.int64)


def _patterns(layers: Sequence[Layer], keys: Sequence[tuple[TileRow, int | None]], tile: NDArray[np.int64]) -> list[str | None]:
    """What rules call each tile; ``None`` for experts that no pattern meets alone."""
    names = sorted(layer.name for layer in layers)
    _, firsts, counts = np.unique(tile, return_index=True, return_counts=True)
    found: list[str | None] = []
    for (row, _), first, count in zip(keys, firsts.tolist(), counts.tolist(), strict=True):
        layer = layers[first]
        if count == 1 or not row.is_of_experts:
            found.append(pattern_of_name(layer.name))
            continue
        before, _, behind = layer.name.rpartition(f".{layer.expert}.")
        found.append(pattern_of_experts(f"{before}.", f".{behind}", count, names))
    return found
