"""From one plan to another: the parts add up to the whole."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.plan_diffs import PlanDiff
from planner.services import plan_diffs
from planner.storage.database import Database
from tests import synthetic
from tests.planner.services.stored_plans import measured_model, stored_plan

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""A matter of documents: what is read of a database, other tests read of both."""
OTHERS: list[dict[str, Any]] = [
    {},
    {"runtime": "vllm"},
    {"ignore": []},
    {"ignore": ["lm_head", "model.layers.0.*"]},
    {"shrinkage": False},
    {"pins": {"*.o_proj": "INT8_G64"}},
]


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description()
    model = measured_model(database)
    with database.session() as session:  # cells of the head too, so that it can be planned
        synthetic.add_cells(session, described, synthetic.setting(), head=True)
    return model


def diff(database: Database, plan: str, other: str) -> PlanDiff:
    with database.read_session() as session:
        return plan_diffs.diff_plans(session, plan, other)


@settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bits=st.tuples(st.sampled_from([3.5, 4.25, 5.0]), st.sampled_from([3.5, 4.25, 5.0])),
    rules=st.tuples(st.sampled_from(OTHERS), st.sampled_from(OTHERS)),
)
def test_the_parts_add_up(
    database: Database, toy: str, bits: tuple[float, float], rules: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    plan, other = (stored_plan(database, budget={"effective_bits": one}, **rule) for one, rule in zip(bits, rules, strict=True))
    found = diff(database, plan.id, other.id)
    here, there = ({choice.layer: choice for choice in one.choices} for one in (plan, other))
    expected = {layer for layer in here.keys() & there.keys() if here[layer].format != there[layer].format}
    assert {change.layer for change in found.changed} == expected
    assert all(change.layer in found.groups[change.group].layers for change in found.changed)
    assert {*found.only_in_plan} == here.keys() - there.keys()
    assert {*found.only_in_other} == there.keys() - here.keys()
    assert found.layers == len(here.keys() & there.keys())
    assert found.bits_change == other.size.layer_bits - plan.size.layer_bits
    whole = not (found.only_in_plan or found.only_in_other)
    assert (found.loss_change is not None) == (found.same_curves and whole)
    assert bool(found.notes) == (found.loss_change is None)
    if found.loss_change is not None:
        parts = [group.loss_change for group in found.groups if group.loss_change is not None]
        assert len(parts) == len(found.groups)
        assert sum(parts) == pytest.approx(found.loss_change, abs=1e-9)
        assert found.loss_change == other.predicted.loss - plan.predicted.loss
    if whole and plan.runtime == other.runtime:
        assert sum(group.bits_change for group in found.groups) == found.bits_change
    back = diff(database, other.id, plan.id)
    assert back.bits_change == -found.bits_change
    assert {(change.layer, change.format, change.other_format) for change in back.changed} == {
        (change.layer, change.other_format, change.format) for change in found.changed
    }


def test_ties_of_one_plan_are_compared_as_a_whole(database: Database, toy: str) -> None:
    free, tied = stored_plan(database), stored_plan(database, runtime="vllm")
    found = diff(database, free.id, tied.id)
    fused = next(group for group in found.groups if len(group.layers) == 3)
    assert {name.rpartition(".")[2] for name in fused.layers} == {"q_proj", "k_proj", "v_proj"}
    assert found.plan.runtime == "generic"
    assert found.facts == []


def test_what_was_asked_otherwise_is_said(database: Database, toy: str) -> None:
    plan, other = stored_plan(database), stored_plan(database, pins={"*.o_proj": "INT8_G64"}, caution=2.0, model=toy)
    found = diff(database, plan.id, other.id)
    assert {fact.field: (fact.value, fact.other) for fact in found.facts} == {
        "request.pins": ({}, {"*.o_proj": "INT8_G64"}),
        "request.caution": (0.0, 2.0),
    }
    assert diff(database, plan.id, plan.id).model_dump(include={"changed", "groups", "facts", "notes", "loss_change"}) == {
        "changed": [],
        "groups": [],
        "facts": [],
        "notes": [],
        "loss_change": 0.0,
    }


def test_losses_of_other_curves_are_not_subtracted(database: Database, toy: str) -> None:
    with database.session() as session:
        exact = synthetic.add_cells(session, synthetic.description(), synthetic.setting(probe="kl"), seed=3)
    plan, other = stored_plan(database, probe="fisher"), stored_plan(database, setting=exact)
    found = diff(database, plan.id, other.id)
    assert not found.same_curves
    assert found.loss_change is None
    assert all(group.loss_change is None for group in found.groups)
    assert found.notes == [
        "losses are not subtracted, they come from different curves: "
        f"fisher, setting {plan.provenance.setting[:12]}, losses expected; kl, setting {exact[:12]}, losses as measured"
    ]


def test_a_fine_tune_is_compared_and_another_model_is_not(database: Database, toy: str) -> None:
    measured_model(database, "tuned", seed=7)
    larger = synthetic.description(name="larger", hidden=256)
    with database.session() as session:
        synthetic.add_model(session, larger)
        synthetic.add_cells(session, larger, synthetic.setting())
    plan, tuned, other = (stored_plan(database, model=model) for model in ("toy", "tuned", "larger"))
    found = diff(database, plan.id, tuned.id)
    assert (found.plan.model_name, found.other.model_name) == ("toy", "tuned")
    assert found.loss_change is None
    assert "of 'toy' and 'tuned'" in found.notes[0]
    with pytest.raises(InvalidRequestError, match="0 of the 15 layers of 'toy' are in 'larger' with the same name and shape"):
        diff(database, plan.id, other.id)
    with pytest.raises(NotFoundError, match="no plan 'f00'"):
        diff(database, plan.id, "f00")
