"""Caches are planned with the cells that the question names; what is asked again of a plan stays with the plan's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from planner.errors import NotFoundError, UnmeasuredError
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.schemas.retargeting import RetargetRequest
from planner.services import explaining_plans, frontiers, plan_diffs, plans, retargeting
from planner.services.plan_questions import asked_again, measured_since
from planner.storage.database import Database
from tests import synthetic
from tests.planner.services import cached_model

KV = ["INT8", "INT4", "BF16"]
BUDGET = {"resident_bytes": 520_000, "context": 1024}


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def toy(database: Database) -> str:
    with database.session() as session:
        return cached_model.add(session)


def stored(database: Database, **request: object) -> PlanDocument:
    with database.session() as session:
        asked = {"model": "toy", "budget": BUDGET, "kv_formats": KV} | request
        return plans.create_plan(session, PlanRequest.model_validate(asked))


def measured_anew(database: Database, **how: object) -> str:
    """The id of a setting that is fresher than the first."""
    with database.session() as session:
        return cached_model.add_kv_cells(session, cached_model.description(), seed=7, way="again", **how)  # type: ignore[arg-type]


def asked_anew(database: Database, plan: PlanDocument) -> PlanDocument:
    with database.read_session() as session:
        again = PlanRequest.model_validate(plan.request.model_dump() | asked_again(plan))
        return plans.make_plan(session, again)


def test_the_freshest_cells_unless_a_setting_is_named(database: Database, toy: str) -> None:
    old = stored(database)
    fresh = measured_anew(database)
    new, named = stored(database), stored(database, kv_setting=old.provenance.kv_setting)
    assert new.provenance.kv_setting == fresh != old.provenance.kv_setting == named.provenance.kv_setting
    assert named.predicted.loss == old.predicted.loss != new.predicted.loss
    assert (named.kv, named.kv_groups) == (old.kv, old.kv_groups)
    with database.read_session() as session:
        asked = {"model": "toy", "kv_formats": KV, "context": 1024, "points": 3}
        first = frontiers.make_frontier(
            session, FrontierRequest.model_validate(asked | {"kv_setting": old.provenance.kv_setting})
        )
        second = frontiers.make_frontier(session, FrontierRequest.model_validate(asked))
    assert (first.provenance.kv_setting, second.provenance.kv_setting) == (old.provenance.kv_setting, fresh)
    assert [point.predicted_loss for point in first.points] != [point.predicted_loss for point in second.points]


def test_what_is_asked_again_stays_with_the_cells_of_the_plan(database: Database, toy: str) -> None:
    plan = stored(database)
    with database.read_session() as session:
        before = explaining_plans.explain_plan(session, plan.id)
        assert measured_since(session, plan) is None
    measured_anew(database)
    with database.read_session() as session:
        after = explaining_plans.explain_plan(session, plan.id)
        moved = retargeting.retarget_plan(session, plan.id, RetargetRequest(runtime="generic"))
    assert after == before
    assert moved.plan.provenance.kv_setting == plan.provenance.kv_setting
    assert (moved.diff.changed, moved.diff.kv_changed, moved.diff.loss_change) == ([], [], 0.0)
    assert asked_anew(database, plan).predicted == plan.predicted


def test_formats_that_were_measured_later_do_not_enter(database: Database) -> None:
    with database.session() as session:
        described = cached_model.description()
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        cached_model.add_kv_cells(session, described, formats=("INT8",))
    plan = stored(database, kv_formats=["measured", "k_bf16"])
    assert sorted(plan.kv_formats) == ["BF16", "K_BF16", "K_INT8", "V_INT8"]
    with database.read_session() as session:
        before = explaining_plans.explain_plan(session, plan.id)
    with database.session() as session:
        cached_model.add_kv_cells(session, described, formats=("INT4",))
    again = asked_anew(database, plan)
    assert (again.kv, again.kv_formats, again.predicted) == (plan.kv, plan.kv_formats, plan.predicted)
    with database.read_session() as session:
        after = explaining_plans.explain_plan(session, plan.id)
        moved = retargeting.retarget_plan(session, plan.id, RetargetRequest(runtime="generic"))
    assert after.model_copy(update={"notes": before.notes}) == before
    assert not {choice.format for choice in moved.plan.kv} & {"K_INT4", "V_INT4"}
    assert stored(database, kv_formats=["measured"]).predicted.loss < plan.predicted.loss
    former = plan.model_copy(update={"kv_formats": []})
    assert asked_again(former)["kv_formats"] == ["measured", "k_bf16"]


def test_newer_cells_of_the_caches_are_told(database: Database, toy: str) -> None:
    plan = stored(database)
    with database.session() as session:
        cached_model.add_kv_cells(session, cached_model.description(), seed=7)
    with database.read_session() as session:
        notes = explaining_plans.explain_plan(session, plan.id).notes
        moved = retargeting.retarget_plan(session, plan.id, RetargetRequest(runtime="generic")).notes
    assert any(note.startswith("cells of the curves of the caches were measured since") for note in notes)
    assert any(note.startswith("cells of the curves of the caches were measured since") for note in moved)
    with database.session() as session:
        synthetic.add_cells(session, cached_model.description(), synthetic.setting(), seed=1)
    with database.read_session() as session:
        assert measured_since(session, plan) == "these curves and the curves of the caches"


def test_losses_of_other_cells_of_caches_are_not_subtracted(database: Database, toy: str) -> None:
    plan = stored(database)
    fresh = measured_anew(database)
    other, alone = stored(database), stored(database, kv_formats=None, budget={"effective_bits": 4.5})
    with database.read_session() as session:
        found = plan_diffs.diff_plans(session, plan.id, other.id)
        beside = plan_diffs.diff_plans(session, plan.id, alone.id)
    assert found.same_curves
    assert found.loss_change is None
    assert any(fresh[:12] in note for note in found.notes)
    assert any(fact.field == "provenance.kv_setting" for fact in found.facts)
    assert beside.loss_change == pytest.approx(alone.predicted.loss - plan.predicted.loss)


def test_a_setting_that_cannot_serve_is_refused_with_what_to_do(database: Database, toy: str) -> None:
    plan = stored(database)
    fresh = measured_anew(database, formats=("INT8",))
    with pytest.raises(UnmeasuredError, match=rf"{fresh}.*which kv_setting fixes: K_INT4, V_INT4"):
        stored(database, kv_setting=fresh)
    assert stored(database, kv_setting=fresh, kv_formats=["INT8"]).provenance.kv_setting == fresh
    assert stored(database, kv_setting=plan.provenance.kv_setting, kv_formats=["measured"]).kv
    for nothing in ("0" * 64, plan.provenance.setting):  # unknown, and one of weights
        with pytest.raises(NotFoundError, match="no cells of caches in probe setting"):
            stored(database, kv_setting=nothing)
    with pytest.raises(ValidationError, match="kv_setting belongs to kv_formats"):
        stored(database, kv_setting=fresh, kv_formats=None)
