"""Frontiers agree with the plans that are made one by one."""

from itertools import pairwise

import pytest

from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import frontiers, plans
from planner.storage.database import Database
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""A matter of numbers: what is read of a database, other tests read of both."""


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description(blocks=4)
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    return model


def made(database: Database, **request: object) -> FrontierDocument:
    with database.read_session() as session:
        return frontiers.make_frontier(session, FrontierRequest.model_validate({"model": "toy"} | request))


def test_points_run_from_the_smallest_plan_to_the_least_loss(database: Database, toy: str) -> None:
    found = made(database, points=30)
    assert len(found.points) == 30
    for one, two in pairwise(found.points):
        assert one.layer_bits <= two.layer_bits
        assert one.predicted_loss >= two.predicted_loss
        assert one.lower_bound >= two.lower_bound
    assert all(point.layer_bits <= point.budget_layer_bits for point in found.points)
    assert all(point.lower_bound <= point.predicted_loss * (1 + 1e-12) for point in found.points)
    assert found.points[-1].predicted_loss == 0  # BF16 loses nothing
    assert 0 < found.knee < 29
    assert {uniform.format for uniform in found.uniforms} == set(found.formats)


def test_proven_points_are_the_plans_of_their_budgets(database: Database, toy: str) -> None:
    found, quick = made(database, points=9, proven=True), made(database, points=9)
    for point, other in zip(found.points, quick.points, strict=True):
        bits = point.budget_layer_bits * point.effective_bits / point.layer_bits
        request = PlanRequest(model="toy", budget=BudgetSpec(effective_bits=bits * (1 + 1e-15)), allow_slack=True)
        with database.read_session() as session:
            plan = plans.make_plan(session, request)
        assert point.predicted_loss == pytest.approx(plan.predicted.loss, rel=1e-9)
        assert point.gap == 0
        assert other.lower_bound <= point.predicted_loss * (1 + 1e-12)
        assert point.predicted_loss <= other.predicted_loss * (1 + 1e-12)
    middle = found.points[4]
    request = PlanRequest(model="toy", budget=BudgetSpec(file_bytes=middle.file_bytes))
    with database.read_session() as session:
        assert plans.make_plan(session, request).predicted.standard_error == pytest.approx(middle.standard_error)


def test_memory_counts_the_cache(database: Database, toy: str) -> None:
    bare, served = made(database, points=3), made(database, points=3, context=1024, batch=2, workspace_bytes=7)
    for one, two in zip(bare.points, served.points, strict=True):
        assert one.file_bytes == two.file_bytes == one.resident_bytes
        assert two.resident_bytes == two.file_bytes + 7 + 2 * 1024 * 4 * 128 * 2
    assert served.uniforms[0].resident_bytes > served.uniforms[0].file_bytes


def test_rules_and_menus_hold_at_every_point(database: Database, toy: str) -> None:
    pinned = made(database, points=5, pins={"model.layers.0.*": "INT8_G64"}, formats=["INT2_G64", "INT8_G64"])
    free = made(database, points=5, formats=["INT2_G64", "INT8_G64"])
    assert pinned.points[0].layer_bits > free.points[0].layer_bits
    assert [uniform.format for uniform in pinned.uniforms] == ["INT8_G64"]
    alone = made(database, points=4, formats=["INT4_G64"])
    assert {point.layer_bits for point in alone.points} == {alone.points[0].layer_bits}


def test_nothing_to_plan_is_a_frontier_of_nothing(database: Database, toy: str) -> None:
    found = made(database, points=2, ignore=["*"])
    assert [(point.layer_bits, point.predicted_loss) for point in found.points] == [(0, 0.0), (0, 0.0)]
    assert found.uniforms == []


def test_what_cannot_be_drawn(database: Database, toy: str) -> None:
    with pytest.raises(NotFoundError):
        made(database, model="nobody")
    with pytest.raises(InvalidRequestError):
        made(database, pins={"no.such.layer": "INT4_G64"})
    with pytest.raises(UnmeasuredError):
        made(database, formats=["INT7_G64"])
    with pytest.raises(UnmeasuredError, match="measured: fisher with rtn"):
        made(database, rounding="gptq")
    assert made(database, rounding="rtn", points=2).provenance.rounding == "rtn"
