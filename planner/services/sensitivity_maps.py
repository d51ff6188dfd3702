"""A model's sensitivity at a glance: cells of one setting by block and row, and the layers at either end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.curves import Curves
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
    seen = (curves.status != "").any(axis=1)
    places: dict[int, list[int]] = {}
    for row, at in enumerate(model.tile[model.places_of(layer.name for layer in layers)].tolist()):
        places.setdefault(at, []).append(row)
    return _Drawn(
        formats=tuple(_format(fmt, weights[seen], sizes[seen, k]) for k, fmt in enumerate(formats)),
        layers=int(seen.sum()),
        tiles=tuple(
            _tile(model.tiles[at], int(weights[rows].sum()), curves.part(rows, range(len(formats))), sizes[rows])
            for at, rows in sorted(places.items())
            if seen[rows].any()
        ),
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


def _tile(tile: LayerTile, weights: int, curves: Curves[AbstractFormat], sizes: NDArray[np.float64]) -> MapTile:
    """A tile of so many weights; arrays of all its layers, measured or not, of shape (layers, formats)."""
    ordered = np.sort(curves.loss, axis=0)  # NaN is the last
    counts = np.isfinite(curves.loss).sum(axis=0).tolist()
    columns = range(len(counts))
    errors = np.sqrt((curves.standard_error**2).sum(axis=0, where=np.isfinite(curves.loss)))
    return MapTile(
        **tile.named(len(curves.loss)),
        weights=weights,
        loss=[float(ordered[: counts[k], k].mean()) if counts[k] else None for k in columns],
        standard_error=[_number(errors[k] / counts[k]) if counts[k] else None for k in columns],
        bytes=[_number(total) for total in sizes.sum(axis=0)],
        measured=counts,
        spread=[_spread(ordered[: counts[k], k]) if counts[k] > 1 else None for k in columns],
        status=[None if counts[k] else _reason(curves.status[:, k]) for k in columns],
    )


def _spread(ordered: NDArray[np.float64]) -> Spread:
    at = [round(share * (len(ordered) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)]
    least, lower, median, upper, greatest = ordered[at].tolist()
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
    return float(value) if np.isfinite(value) else None
