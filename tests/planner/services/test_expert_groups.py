"""Experts grouped at planning time: fewer choices never cost less, and no group is split."""

from dataclasses import replace

import pytest

from planner.cells import Cell
from planner.errors import InvalidRequestError
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plans import BoundsRequest, PlanDocument, PlanRequest
from planner.services import frontiers, plans
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.planner.strategies import expert_layers

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""A matter of numbers: what is read of a database, other tests read of both."""

EXPERTS = 6


@pytest.fixture
def mixture(database: Database) -> str:
    """A block of llama layers with six experts beside; the last expert saw no token."""
    dense = synthetic.description(blocks=1)
    described = replace(dense, layers=(*dense.layers, *expert_layers(experts=EXPERTS)))
    silent = [layer for layer in described.layers if layer.expert == EXPERTS - 1]
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        cells = [
            Cell(layer.name, name, get_format(name).identity, CellStatus.NO_TOKENS, None, None, 0.0, 0.0, 0.0)
            for layer in silent
            for name in synthetic.FORMATS
        ]
        store_cells(session, described.fingerprint, synthetic.setting(), cells)
    return described.fingerprint


def planned(database: Database, **request: object) -> PlanDocument:
    asked = {"model": "toy", "budget": {"effective_bits": 4.0}} | request
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate(asked))


def test_the_coarser_the_groups_the_larger_the_loss(database: Database, mixture: str) -> None:
    found = {how: planned(database, experts=how) for how in ("free", "projection", "block", 1, 2, 3, EXPERTS)}
    groups = {how: [g for g in plan.groups if "experts" in g.layers[0]] for how, plan in found.items()}
    assert {how: len(group) for how, group in groups.items()} == {"free": 12, "projection": 2, "block": 1, 1: 1, 2: 2, 3: 3, 6: 6}
    losses = {how: plan.predicted.loss for how, plan in found.items()}
    assert losses["free"] <= losses["projection"] <= losses["block"] == pytest.approx(losses[1])
    assert losses["free"] <= losses[EXPERTS] <= losses[3] <= losses["block"]
    for how, of_experts in groups.items():
        for group in of_experts:
            assert {choice.format for choice in found[how].choices if choice.layer in group.layers} == {group.format}
    silent = f"experts.{EXPERTS - 1}."
    (last,) = (group for group in groups[3] if any(silent in name for name in group.layers))
    assert last.predicted_loss / len(last.layers) == max(
        g.predicted_loss / len(g.layers) for g in groups[3] if g.format == last.format
    )
    assert any("experts that saw no token" in note for note in found["block"].notes)


def test_what_the_runtime_ties_stays_tied(database: Database, mixture: str) -> None:
    plan = planned(database, runtime="vllm", experts=3)
    assert [len(group.layers) for group in plan.groups if "experts" in group.layers[0]] == [2 * EXPERTS]


def test_frontiers_and_bounds_know_groups_too(database: Database, mixture: str) -> None:
    with database.read_session() as session:
        request = FrontierRequest.model_validate({"model": "toy", "points": 3, "experts": 2})
        assert frontiers.make_frontier(session, request).points
        bounds = plans.bounds(session, "toy", BoundsRequest(formats=["INT4_G64"], experts="block"))
        assert bounds.groups == 8
        with pytest.raises(InvalidRequestError, match="need curves"):
            plans.bounds(session, "toy", BoundsRequest(formats=["INT4_G64"], experts=2))
