"""Plans are corrected for the luck of their cells, and say where losses of layers do not add up."""

import math
from dataclasses import replace

import numpy as np
import pytest

from planner.build import GroupCurves
from planner.cells import Cell, ProbeSetting
from planner.schemas.curves import CellDocument
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import curves, frontiers, plans
from planner.services.caveats import confidence
from planner.storage.cells import store_cells
from planner.storage.database import Database
from planner.storage.tables import ProbeSettingRow
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.planner.solving.instances import tied

BLOCKS = 3


def _model(database: Database, *settings: ProbeSetting) -> None:
    described = synthetic.description(blocks=BLOCKS)
    with database.session() as session:
        synthetic.add_model(session, described)
        for number, setting in enumerate(settings):
            synthetic.add_cells(session, described, setting, seed=number)


def _plan(database: Database, **request: object) -> PlanDocument:
    asked = {"model": "toy", "budget": {"effective_bits": 4.25}} | request
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate(asked))


def _cells(database: Database, plan: PlanDocument) -> list[CellDocument]:
    """Cells of the plan's choices, with their expected losses."""
    with database.read_session() as session:
        found = curves.get_curves(session, "toy", setting=plan.provenance.setting, expected=True).items
    by_place = {(cell.layer, cell.format): cell for cell in found}
    return [by_place[choice.layer, choice.format] for choice in plan.choices]


@pytest.mark.parametrize("shrinkage", [True, False])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_corrected_loss_is_that_of_the_expected_cells_whatever_the_plan_was_made_with(
    database: Database, shrinkage: bool
) -> None:
    _model(database, synthetic.setting())
    plan = _plan(database, shrinkage=shrinkage)
    cells, corrected = _cells(database, plan), plan.corrected
    assert corrected is not None
    assert corrected.loss == pytest.approx(sum(cell.expected_loss or 0 for cell in cells))
    assert corrected.standard_error == pytest.approx(math.hypot(*(cell.expected_error or 0 for cell in cells)))
    assert corrected.uncorrected_loss == pytest.approx(sum(cell.loss or 0 for cell in cells))
    assert plan.predicted.loss == pytest.approx(corrected.loss if shrinkage else corrected.uncorrected_loss)
    assert plan.proof.lower_bound == plan.predicted.loss
    assert corrected.cells == 7 * BLOCKS * 7  # without BF16, which is exact
    assert corrected.noise == pytest.approx(0.1, rel=0.1)
    uniform = plan.references[0]
    assert uniform.corrected_loss is not None
    assert uniform.loss is not None
    assert corrected.loss < uniform.corrected_loss
    assert (uniform.loss == uniform.corrected_loss) == shrinkage


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_expected_losses_are_those_of_the_setting_not_of_the_question(database: Database) -> None:
    _model(database, synthetic.setting())
    plan = _plan(database, formats=["INT3_G64", "INT5_G64"], ignore=["model.layers.0.*", "lm_head"])
    assert plan.predicted.loss == pytest.approx(sum(cell.expected_loss or 0 for cell in _cells(database, plan)), rel=1e-9)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_errors_that_formats_share_and_unknown_errors_correct_nothing(database: Database) -> None:
    described, alone = synthetic.description(blocks=BLOCKS), replace(synthetic.setting(), parameters={"sequences": 1})
    _model(database, synthetic.setting(probe="kl"))
    with database.session() as session:
        cells = [
            Cell(layer.name, name, get_format(name).identity, CellStatus.MEASURED, loss, None, 1.0, loss, loss**2)
            for place, layer in enumerate(described.layers)
            for name in ("INT3_G64", "INT4_G64", "INT8_G64")
            if (loss := (1 + place) * 4.0 ** -get_format(name).num_bits)
        ]
        store_cells(session, described.fingerprint, alone, cells)
    for request, note in (({"probe": "kl"}, True), ({"setting": alone.id}, False)):
        plan, plain = _plan(database, **request), _plan(database, shrinkage=False, **request)
        assert plan.corrected is None
        assert plan.references[0].corrected_loss is None
        assert (plan.choices, plan.predicted, plan.proof.lower_bound) == (plain.choices, plain.predicted, plain.proof.lower_bound)
        assert any("do not tell luck from truth" in text for text in plan.notes) is note
        assert all(cell.expected_loss == cell.loss for cell in _cells(database, plan))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_frontiers_are_drawn_with_the_curves_that_plans_are_made_with(database: Database) -> None:
    _model(database, synthetic.setting(), synthetic.setting(probe="kl"))
    with database.read_session() as session:
        drawn = {
            (probe, shrinkage): frontiers.make_frontier(
                session, FrontierRequest(model="toy", probe=probe, points=5, proven=True, shrinkage=shrinkage)
            )
            for probe in ("fisher", "kl")
            for shrinkage in (True, False)
        }
    assert [found.shrunk for found in drawn.values()] == [True, False, False, False]
    assert drawn["fisher", True].points[1].predicted_loss != drawn["fisher", False].points[1].predicted_loss
    assert drawn["kl", True].points == drawn["kl", False].points


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_layers_below_four_bits_and_losses_that_do_not_add_up_are_no_ground_for_confidence(database: Database) -> None:
    relative = replace(synthetic.setting(probe="output_error"), in_nats=False, additive=False)
    _model(database, synthetic.setting(), relative)
    low, high = _plan(database, budget={"effective_bits": 3.5}).confidence, _plan(database, floors={"*": 4}).confidence
    assert low is not None
    assert high is not None
    assert (low.additivity, high.additivity, high.reasons) == ("low", "usual", [])
    assert "layers are below 4 bits" in low.reasons[0]
    assert "of the predicted loss" in low.reasons[0]
    unsummed = _plan(database, probe="output_error", floors={"*": 4}).confidence
    assert unsummed is not None
    assert unsummed.reasons == ["losses of output_error are not made to be added: plan with fisher or kl"]


def test_a_single_small_layer_below_four_bits_matters_by_its_loss() -> None:
    classes, setting = tied(8), ProbeSettingRow(probe="fisher", additive=True)
    choice = np.ones(len(classes.groups), dtype=np.int64)
    smallest = int(classes.sizes[:, 0].argmin())
    choice[smallest] = 0
    loss = np.ones(classes.legal.shape)
    for share, additivity in ((0.01, "usual"), (10.0, "low")):
        loss[smallest, 0] = share
        curves = GroupCurves(loss, np.zeros_like(loss), ())
        assert confidence(classes, curves, choice, setting).additivity == additivity
    assert confidence(classes, GroupCurves(loss * 0, loss * 0, ()), choice * 0, setting).additivity == "low"
