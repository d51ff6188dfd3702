"""Plans say when their menu, not the model, is the limit; and never lose to a uniform format that they may take."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.build import GroupCurves
from planner.cells import Cell
from planner.curves import Curves
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plans
from planner.solving import solve_plan
from planner.solving.interpolation import interpolated
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.planner.solving.instances import tied

LADDER = ("INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64")
HOLED = ["INT3_G64", "INT4_G64", "INT6_G64", "INT8_G64"]
Loss = Callable[[int], float]


def _measured(
    database: Database, formats: tuple[str, ...], loss: Loss, *, error: float = 0.0, missing: tuple[str, str] = ("", "")
) -> None:
    """A model of equal layers whose only difference is their size: a uniform format is hard to beat.

    No cell is ``missing``, of a kind of layers in a format.
    """
    described = synthetic.description(head=False)
    with database.session() as session:
        synthetic.add_model(session, described)
        cells = [
            Cell(
                layer.name,
                name,
                get_format(name).identity,
                CellStatus.MEASURED,
                value,
                error * value,
                9.0,
                9 * value,
                9 * value**2,
            )
            for layer in described.layers
            for name in formats
            if (value := loss(get_format(name).num_bits) * layer.parameters) and (layer.kind, name) != missing
        ]
        store_cells(session, described.fingerprint, synthetic.setting(probe="kl"), cells)


def _plan(database: Database, **request: object) -> PlanDocument:
    asked = {"model": "toy", "budget": {"effective_bits": 5.25}} | request
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate(asked))


def _falling(bits: int) -> float:
    return 4.0**-bits


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_format_that_the_menu_lacks_is_named(database: Database) -> None:
    _measured(database, LADDER, _falling)
    assert _plan(database).menu_limit is None  # INT5 is in the menu, so the plan has it
    for request in ({"formats": HOLED}, {"menus": {"*": HOLED}}):
        plan = _plan(database, **request)
        limit = plan.menu_limit
        assert limit is not None
        assert limit.loss == pytest.approx(plan.predicted.loss)
        best = limit.uniforms[0]
        assert (best.format, best.reason) == ("INT5_G64", "menu")
        assert best.loss == pytest.approx(_plan(database).references[0].loss)
        assert best.loss < plan.predicted.loss
        assert best.effective_bits <= 5.25
        assert "INT5_G64 everywhere is expected to lose" in best.advice
        assert "add it to formats" in best.advice
        assert limit.wider is not None
        assert limit.wider.loss == pytest.approx(_plan(database).predicted.loss)
        assert limit.wider.gain == pytest.approx(plan.predicted.loss - limit.wider.loss)
        assert set(limit.wider.added) == {"INT5_G64"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_wider_menu_must_be_better_by_more_than_its_error_and_keeps_the_other_rules(database: Database) -> None:
    _measured(database, LADDER, _falling, error=3.0)
    noisy = _plan(database, formats=HOLED).menu_limit
    assert noisy is not None
    assert noisy.wider is None
    assert noisy.uniforms[0].standard_error > 0
    assert _plan(database, formats=HOLED, floors={"*": 6}, budget={"effective_bits": 7}).menu_limit is None
    counted = _plan(database, formats=HOLED, counts=[{"above_bits": 4, "at_most": 12}]).menu_limit
    assert counted is None or not counted.uniforms


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_format_that_nobody_measured_is_told_from_one_that_was_left_out(database: Database) -> None:
    _measured(database, tuple(HOLED), _falling)
    limit = _plan(database).menu_limit
    assert limit is not None
    assert [(one.format, one.reason) for one in limit.uniforms] == [("INT5_G64", "unmeasured")]
    assert limit.uniforms[0].loss == pytest.approx(
        _falling(5) * sum(layer.parameters for layer in synthetic.description(head=False).layers)
    )
    assert "bitplan measure --formats INT5_G64" in limit.uniforms[0].advice
    assert limit.wider is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_format_that_the_runtime_refuses_is_named_with_the_reason(database: Database) -> None:
    _measured(database, ("INT3_G64", "INT4_G64", "NF4_G64", "INT8_G64"), _falling)
    described = synthetic.description(head=False)
    with database.session() as session:
        cells = [
            Cell(layer.name, "NF4_G64", get_format("NF4_G64").identity, CellStatus.MEASURED, 1e-9, 0.0, 9.0, 9e-9, 9e-18)
            for layer in described.layers
        ]
        store_cells(session, described.fingerprint, synthetic.setting(probe="kl"), cells)
    assert _plan(database, budget={"effective_bits": 4.5}, allow_slack=True).menu_limit is None
    limit = _plan(database, budget={"effective_bits": 4.5}, runtime="vllm").menu_limit
    assert limit is not None
    assert [(one.format, one.reason) for one in limit.uniforms] == [("NF4_G64", "runtime")]
    assert "vLLM has no kernel for NF4_G64" in limit.uniforms[0].advice


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_column_with_holes_is_not_offered_as_a_way_out(database: Database) -> None:
    _measured(database, tuple(HOLED), _falling)
    described = synthetic.description(head=False)
    with database.session() as session:
        cell = Cell(described.layers[0].name, "FP8", get_format("FP8").identity, CellStatus.MEASURED, 0.0, 0.0, 9.0, 0.0, 0.0)
        store_cells(session, described.fingerprint, synthetic.setting(probe="kl"), [cell])
    limit = _plan(database, formats=HOLED, budget={"effective_bits": 8.2}, allow_slack=True).menu_limit
    assert limit is None or all(one.format != "FP8" for one in limit.uniforms)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_a_plan_is_never_worse_than_a_uniform_format_of_its_menu_at_no_more_bytes(seed: int, share: float) -> None:
    classes = tied(3)
    rng = np.random.default_rng(seed)
    loss = rng.lognormal(0.0, 1.5, size=classes.legal.shape)
    budget = classes.smallest_bits + int(share * (classes.largest_bits - classes.smallest_bits))
    solved = solve_plan(classes, GroupCurves(loss, np.zeros_like(loss), ()), budget, deadline=None)
    for column, size in enumerate(classes.sizes.sum(axis=0).tolist()):
        if size <= budget:
            assert solved.proved.loss <= loss[:, column].sum() * (1 + 1e-12)


def test_interpolation_is_geometric_between_the_nearest_of_the_family() -> None:
    formats = tuple(get_format(name) for name in ("INT3_G64", "INT4_G64", "INT8_G64", "INT6_G128", "FP8"))
    loss = np.array([[8.0, 4.0, 0.25, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0, 1.0], [1.0, np.nan, np.nan, 1.0, 1.0]])
    status = np.where(np.isfinite(loss), CellStatus.MEASURED.value, CellStatus.NO_TOKENS.value)
    curves = Curves(("a", "b", "c"), formats, loss, loss / 10, status)
    found = interpolated(curves, all_formats())
    assert [fmt.name for fmt in found.formats] == ["INT5_G64", "INT6_G64", "INT7_G64"]
    assert found.loss[0] == pytest.approx([2.0, 1.0, 0.5])
    assert found.standard_error[0] == pytest.approx([0.2 * np.sqrt(10) / 4, 0.1 * np.sqrt(0.5), 0.05 * np.sqrt(10) / 4])
    assert np.isnan(found.loss[1:]).all()
    assert found.status[:, 0].tolist() == ["measured", "", "no_tokens"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_menu_without_a_format_that_was_not_measured_there_is_planned(database: Database) -> None:
    """What lies outside of the menu has no cells to be compared by, and that spoils no plan."""
    _measured(database, tuple(HOLED), _falling, missing=("q_proj", "INT6_G64"))
    fits = ["INT3_G64", "INT4_G64", "INT8_G64"]
    for bits in (3.5, 4.5, 6.5):
        plan = _plan(database, menus={"*.q_proj": fits}, formats=HOLED, budget={"effective_bits": bits})
        assert plan.menu_limit is None or "INT6_G64" not in [one.format for one in plan.menu_limit.uniforms]
