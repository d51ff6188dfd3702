"""Fits and comparisons of stored curves."""

import csv
import io
import math

import numpy as np
import pytest

from planner.cells import Cell, ProbeSetting
from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.schemas.curve_tools import ComparisonDocument, FitsDocument
from planner.services import comparisons, curve_fits
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the queries are those of other services

DESCRIBED = synthetic.description()
LAYERS = [layer for layer in DESCRIBED.layers if layer.kind != "lm_head"]
SETTING = ProbeSetting("fisher", 1, "rtn", 1, None, {}, in_nats=True, additive=True)


def store(
    database: Database, losses: dict[str, np.ndarray], *, how: ProbeSetting = SETTING, error: float | None = 0.1
) -> ProbeSetting:
    """Cells of every layer but the head: ``losses[format]`` in model order, NaN for a cell without a number."""
    cells = []
    for name, column in losses.items():
        fmt = get_cell_format(name)
        for layer, loss in zip(LAYERS, column.tolist(), strict=True):
            known = math.isfinite(loss)
            status = CellStatus.MEASURED if known else CellStatus.NON_FINITE
            errors = error * abs(loss) if known and error is not None else None
            cells.append(
                Cell(layer.name, name, fmt.identity, status, loss if known else None, errors, 4.0, loss if known else None, None)
            )
    with database.session() as session:
        synthetic.add_model(session, DESCRIBED)
        store_cells(session, DESCRIBED.fingerprint, how, cells)
    return how


def exact(names: tuple[str, ...], *, beta: float = 4.0) -> dict[str, np.ndarray]:
    """α_l·β^(−stored bits), α_l = 1, 2, …"""
    scale = np.arange(1.0, 1.0 + len(LAYERS))
    return {name: scale * beta ** -(get_format(name).num_bits + 0.25) for name in names}


def fitted(database: Database, **options: object) -> FitsDocument:
    with database.read_session() as session:
        return curve_fits.fit(session, "toy", **options)  # type: ignore[arg-type]


def compared(database: Database, first: str, second: str, **options: object) -> ComparisonDocument:
    with database.read_session() as session:
        return comparisons.compare(session, "toy", first, second, **options)  # type: ignore[arg-type]


def test_exact_curves_are_found(database: Database) -> None:
    store(database, exact(("INT2_G64", "INT3_G64", "INT4_G64", "INT8_G64")) | {"BF16": np.full(len(LAYERS), 1e-3)})
    found = fitted(database)
    assert found.formats == ["INT2_G64", "INT3_G64", "INT4_G64", "INT8_G64"]
    assert [item.layer for item in found.items] == [layer.name for layer in LAYERS]
    assert found.pooled_beta == pytest.approx(4)
    for number, item in enumerate(found.items, start=1):
        assert [item.log_alpha, item.beta, item.r_squared] == pytest.approx([math.log(number), 4, 1])
        assert (item.points, item.left_out, item.flags) == (4, 0, [])
        assert item.residual == pytest.approx(0, abs=1e-9)


def test_what_speaks_against_a_curve_is_flagged(database: Database) -> None:
    losses = exact(("INT2_G64", "INT3_G64", "INT4_G64"))
    losses["INT3_G64"][0] = 2 * losses["INT2_G64"][0]
    losses["INT3_G64"][1] = losses["INT2_G64"][1]
    for name in losses:
        losses[name][2] = 1.0
    losses["INT2_G64"][3] = losses["INT3_G64"][3] = math.nan
    losses["INT4_G64"][4] = 0.0
    store(database, losses)
    items = fitted(database).items
    assert [item.flags for item in items[:6]] == [["rising", "not_convex"], ["not_convex"], ["flat"], ["too_few"], [], []]
    assert (items[3].beta, items[3].log_alpha, items[3].r_squared, items[3].residual) == (None,) * 4
    assert [(item.points, item.left_out) for item in items[2:5]] == [(3, 0), (1, 2), (2, 1)]


def test_fits_are_of_the_formats_and_layers_asked_for(database: Database) -> None:
    store(database, exact(("INT2_G64", "INT3_G64", "INT4_G64", "FP8")))
    found = fitted(database, formats=["int2_g64", "INT4_G64"], layers="*.1.*")
    assert found.formats == ["INT2_G64", "INT4_G64"]
    assert {item.block for item in found.items} == {1}
    rows = list(csv.DictReader(io.StringIO(curve_fits.fits_csv(found))))
    assert [row["layer"] for row in rows] == [item.layer for item in found.items]
    assert [float(row["beta"]) for row in rows] == [item.beta for item in found.items]
    for options in ({"formats": ["INT8_G64"]}, {"layers": "nothing"}, {"probe": "kl"}):
        with pytest.raises(UnmeasuredError):
            fitted(database, **options)
    with pytest.raises(UnknownFormatError):
        fitted(database, formats=["INT99"])
    with pytest.raises(NotFoundError):
        fitted(database, setting="0" * 64)


def test_two_probes_are_compared_format_by_format(database: Database) -> None:
    losses = exact(("INT2_G64", "INT4_G64"))
    store(database, losses)
    doubled = {"INT4_G64": 2 * losses["INT4_G64"], "INT8_G64": losses["INT2_G64"]}
    doubled["INT4_G64"][0] = math.nan
    store(database, doubled, how=ProbeSetting("kl", 1, "rtn", 1, None, {}, in_nats=True, additive=True))
    found = compared(database, "kl", "fisher")
    assert (found.first.probe, found.second.probe, found.first_unit) == ("kl", "fisher", "nats/token")
    (item,) = found.items
    assert (item.format, item.cells, item.cells) == ("INT4_G64", len(LAYERS) - 1, len(found.cells))
    assert [item.spearman, item.kendall, item.ratio] == pytest.approx([1, 1, 2])
    sizes = losses["INT4_G64"][1:]
    relative = 0.1 * float(np.sqrt(np.square(sizes).sum())) / float(sizes.sum())
    assert item.ratio_error == pytest.approx(2 * math.sqrt(2) * relative)
    assert found.overall == item.model_copy(update={"format": None})


def test_rounding_methods_are_compared_by_name(database: Database) -> None:
    losses = exact(("INT2_G64", "INT4_G64"))
    store(database, losses)
    gptq = ProbeSetting("fisher", 1, "gptq", 1, None, {}, in_nats=True, additive=True)
    store(database, {"INT4_G64": losses["INT4_G64"] / 4}, how=gptq)
    found = compared(database, "fisher:gptq", "fisher:rtn")
    assert (found.first.rounding, found.second.rounding, found.overall.cells) == ("gptq", "rtn", len(LAYERS))
    assert found.overall.ratio == pytest.approx(1 / 4)
    with pytest.raises(UnmeasuredError, match="probe 'fisher' and rounding 'rtn_clip'"):
        compared(database, "fisher:rtn_clip", "fisher:rtn")


def test_what_cannot_be_added_has_no_ratio_and_ids_name_settings(database: Database) -> None:
    losses = exact(("INT2_G64", "INT4_G64"))
    one = store(database, losses, error=None)
    other = store(database, losses, how=ProbeSetting("weight_error", 1, "rtn", 1, None, {}, in_nats=False, additive=False))
    found = compared(database, one.id, other.id, formats=["INT2_G64"], layers="*.0.*")
    assert (found.overall.cells, found.overall.ratio) == (7, None)
    assert found.overall.spearman == pytest.approx(1)
    assert (found.first_unit, found.second_unit, found.cells[0].first_error) == ("nats/token", "relative", None)


def test_a_comparison_needs_two_settings_with_cells_in_common(database: Database) -> None:
    store(database, exact(("INT2_G64",)))
    with pytest.raises(InvalidRequestError, match="the same setting"):
        compared(database, "fisher", SETTING.id)
    with pytest.raises(UnmeasuredError, match="with probe 'kl'"):
        compared(database, "kl", "fisher")
    with pytest.raises(NotFoundError):
        compared(database, "f" * 64, "fisher")
    store(database, exact(("INT4_G64",)), how=ProbeSetting("kl", 1, "rtn", 1, None, {}, in_nats=True, additive=True))
    with pytest.raises(UnmeasuredError, match="no measured cell in common"):
        compared(database, "kl", "fisher")


@pytest.mark.parametrize("order", [("kurtosis", "fisher"), ("fisher", "kurtosis")])
def test_a_number_of_any_format_is_compared_with_every_format(database: Database, order: tuple[str, str]) -> None:
    ranking = ProbeSetting("kurtosis", 1, "rtn", 1, None, {})
    store(database, exact(("INT3_G64", "INT4_G64")))
    store(database, {"ANY": np.arange(len(LAYERS), 0.0, -1.0)}, how=ranking, error=None)
    found = compared(database, *order)
    assert [(item.format, item.cells, item.ratio) for item in found.items] == [
        ("INT3_G64", len(LAYERS), None),
        ("INT4_G64", len(LAYERS), None),
    ]
    assert [item.spearman for item in found.items] == pytest.approx([-1, -1])
    assert {cell.format for cell in compared(database, *order, formats=["INT4_G64"]).cells} == {"INT4_G64"}
    with database.read_session() as session, pytest.raises(InvalidRequestError, match="kurtosis ranks layers"):
        curve_fits.fit(session, "toy", probe="kurtosis")
