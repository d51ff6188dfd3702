"""A model's sensitivity at a glance: cells of one setting by block and row, and the layers at either end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.curves import Curves
from planner.errors import PlannerError
from planner.schemas.sensitivity_maps import FormatExtremes, MapFormat, MapTile, RankedLayer, SensitivityMap, Spread
from planner.services.curves import find_setting, unit_of
from planner.services.layer_tiles import LayerTile, LayerTiles, model_tiles
from planner.services.planning_inputs import find_model, load_layers
from planner.storage.cells import load_curves, measurements_version
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.families import get_cell_format

_SHARES = (0, 0.25, 0.5, 0.75, 1)
_NOT_SHOWN = -1
_SHOWN = 8
_MEGABYTE = 1e6


def sensitivity_map(session: Session, key: str, *, probe: str | None = None, setting: str | None = None) -> SensitivityMap:
    """The cells of one setting, all formats, by block and row.

    Args:
        session: where to read.
        key: model id, or its name.
        probe: whose cells; by default the most trusted probe that was run.
        setting: id of one setting; by default the freshest of the probe.

    Raises:
        NotFoundError: no such model, or no such setting of it.
        UnmeasuredError: nothing was measured (with that probe).
    """
    version = measurements_version(session, key)
    model = find_model(session, key)
    found = find_setting(session, model, probe=probe, setting=setting)
    drawn = Database.of(session).memory.recall(
        ("sensitivity map", model.id, found.id),
        lambda: _draw(session, model.id, found.id, found.formats),
        size=lambda made: 600 * len(made.tiles) * max(1, len(made.formats)),
        version=version,
        waiting=True,
    )
    return SensitivityMap(
        model=model.id,
        setting=found,
        unit=unit_of(found),
        formats=list(drawn.formats),
        layers=drawn.layers,
        tiles=list(drawn.tiles),
        extremes=list(drawn.extremes),
    )


def prepare_map(database: Database, key: str) -> None:
    """Draw the map that a model's page shows first, for who is about to ask for it; what is wrong is said to who asks."""
    with suppress(PlannerError), database.read_session() as session:
        sensitivity_map(session, key)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What does not change while nothing is measured."""

    formats: tuple[MapFormat, ...]
    layers: int
    tiles: tuple[MapTile, ...]
    extremes: tuple[FormatExtremes, ...]


def _draw(session: Session, model_id: str, setting_id: str, names: Sequence[str]) -> _Drawn:
    formats = [get_cell_format(name) for name in names]
    layers = load_layers(session, model_id)
    model = model_tiles(session, model_id, layers)
    curves = load_curves(session, model_id, setting_id, formats, [layer.name for layer in layers])
    sizes = _sizes(layers, formats)
    weights = np.array([layer.parameters for layer in layers], dtype=np.int64)
    seen = _seen(curves)
    tile = model.tile[model.places_of(layer.name for layer in layers)]
    return _Drawn(
        formats=tuple(_format(fmt, weights[seen], sizes[seen, k]) for k, fmt in enumerate(formats)),
        layers=int(seen.sum()),
        tiles=_tiles(model.tiles, np.where(np.isin(tile, tile[seen]), tile, _NOT_SHOWN), weights, curves, sizes),
        extremes=tuple(_extremes(layers, model, curves, k, sizes[:, k]) for k in range(len(formats))),
    )


def _sizes(layers: Sequence[Layer], formats: Sequence[AbstractFormat]) -> NDArray[np.float64]:
    """Stored bytes, float64 (layers, formats); NaN where the format does not store the layer."""
    shapes = sorted({layer.shape for layer in layers})
    table = np.array([[_bytes(fmt, shape) for fmt in formats] for shape in shapes], dtype=np.float64)
    places = {shape: at for at, shape in enumerate(shapes)}
    return table.reshape(len(shapes), len(formats))[[places[layer.shape] for layer in layers]]


def _bytes(fmt: AbstractFormat, shape: tuple[int, int]) -> float:
    if not isinstance(fmt, CandidateFormat) or fmt.refusal(shape) is not None:
        return np.nan
    return fmt.size_bits(shape) / 8


def _format(fmt: AbstractFormat, weights: NDArray[np.int64], sizes: NDArray[np.float64]) -> MapFormat:
    stored = np.isfinite(sizes)
    bits = 8 * float(sizes[stored].sum()) / float(weights[stored].sum()) if stored.any() else fmt.num_bits
    return MapFormat(name=fmt.name, bits=bits)


def _seen(curves: Curves[AbstractFormat]) -> NDArray[np.bool_]:
    """Which layers have a cell, of whatever status, bool (layers,)."""
    seen = np.isfinite(curves.loss).any(axis=1)
    return np.asarray(seen if seen.all() else (curves.status != "").any(axis=1), dtype=np.bool_)  # texts are slow to compare


def _tiles(
    tiles: Sequence[LayerTile],
    tile: NDArray[np.int64],
    weights: NDArray[np.int64],
    curves: Curves[AbstractFormat],
    sizes: NDArray[np.float64],
) -> tuple[MapTile, ...]:
    """Tiles in model order; those of one number of layers are computed together.

    Args:
        tiles: of the model.
        tile: int64 (layers,): which each layer is of; -1 of those that are not shown.
        weights: int64 (layers,).
        curves: of the layers, measured or not.
        sizes: stored bytes, float64 (layers, formats).
    """
    numbers, counts = np.unique(tile, return_counts=True)
    places = np.split(np.argsort(tile, kind="stable"), np.cumsum(counts)[:-1])
    counts[numbers == _NOT_SHOWN] = 0
    made: dict[int, MapTile] = {}
    for count in np.unique(counts[counts > 0]).tolist():
        alike = np.flatnonzero(counts == count).tolist()
        found = _summed(np.array([places[i] for i in alike]), weights, curves, sizes)
        made |= {int(numbers[i]): MapTile(**tiles[numbers[i]].named(count), **own) for i, own in zip(alike, found, strict=True)}
    return tuple(made[at] for at in sorted(made))


def _summed(
    rows: NDArray[np.int64], weights: NDArray[np.int64], curves: Curves[AbstractFormat], sizes: NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """What tiles of one number of layers have.

    Args:
        rows: int64 (tiles, layers of each): the layers of each tile.
        weights: int64 (layers,).
        curves: of the layers.
        sizes: stored bytes, float64 (layers, formats).
    """
    loss = curves.loss[rows]
    known = np.isfinite(loss)
    ordered = np.sort(loss, axis=1)  # NaN is the last
    counts = known.sum(axis=1)
    some = np.maximum(counts, 1)
    means = np.where(known, loss, 0.0).sum(axis=1) / some
    errors = np.sqrt((curves.standard_error[rows] ** 2).sum(axis=1, where=known)) / some
    at = np.rint((some - 1)[:, None] * np.array(_SHARES)[:, None]).astype(np.int64)  # halves to the even one
    spreads = np.take_along_axis(ordered, at, axis=1).transpose(0, 2, 1)
    arrays = (weights[rows].sum(axis=1), counts, means, errors, sizes[rows].sum(axis=1), spreads)
    for i, (total, measured, mean, error, size, spread) in enumerate(zip(*(array.tolist() for array in arrays), strict=True)):
        yield {
            "weights": total,
            "loss": [number if count else None for number, count in zip(mean, measured, strict=True)],
            "standard_error": [_number(number) if count else None for number, count in zip(error, measured, strict=True)],
            "bytes": [_number(number) for number in size],
            "measured": measured,
            "spread": [_spread(numbers) if count > 1 else None for numbers, count in zip(spread, measured, strict=True)],
            "status": [None if count else _reason(curves.status[rows[i], k]) for k, count in enumerate(measured)],
        }


def _spread(numbers: Sequence[float]) -> Spread:
    least, lower, median, upper, greatest = numbers
    return Spread(least=least, lower=lower, median=median, upper=upper, greatest=greatest)


def _reason(status: NDArray[np.str_]) -> str | None:
    """The first reason; ``None`` where nobody measured."""
    return next((str(word) for word in status.tolist() if word), None)


def _extremes(
    layers: Sequence[Layer], model: LayerTiles, curves: Curves[AbstractFormat], column: int, sizes: NDArray[np.float64]
) -> FormatExtremes:
    loss, error = curves.loss[:, column], curves.standard_error[:, column]
    density = loss / sizes * _MEGABYTE

    def ranked(by: NDArray[np.float64]) -> list[RankedLayer]:
        known = np.flatnonzero(np.isfinite(by))
        first = known if len(known) <= _SHOWN else known[by[known] <= np.partition(by[known], _SHOWN - 1)[_SHOWN - 1]]
        shown = first[np.argsort(by[first], kind="stable")[:_SHOWN]]
        return [
            RankedLayer(
                layer=layers[i].name,
                tile=model.tile_of(layers[i].name).pattern,
                kind=layers[i].kind,
                block=layers[i].block,
                loss=float(loss[i]),
                standard_error=_number(error[i]),
                bytes=_number(sizes[i]),
                loss_per_megabyte=_number(density[i]),
            )
            for i in shown.tolist()
        ]

    return FormatExtremes(
        format=curves.formats[column].name,
        most=ranked(-loss),
        least=ranked(loss),
        most_per_megabyte=ranked(-density),
        least_per_megabyte=ranked(density),
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
