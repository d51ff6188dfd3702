"""Explanations are what the proof says: margins add up to its bound, and what is closed has a reason."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.cells import Cell
from planner.errors import ConflictError, InvalidRequestError, NotFoundError
from planner.runtimes import RUNTIMES, get_runtime
from planner.schemas.devices import CreateDevice
from planner.schemas.explanations import ExplainedGroup, PlanExplanation
from planner.schemas.plans import PlanDocument
from planner.services import explaining_plans, plan_diffs, plans
from planner.services.devices import create_device
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.planner.services.stored_plans import cached_model, stored_plan
from tests.planner.services.test_pools import DEVICE

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
MENU = (*synthetic.FORMATS, "NF4_G64")


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(), formats=MENU, head=True)
    return model


def explained(database: Database, plan: str, layers: str = "*", most: int = 500) -> PlanExplanation:
    with database.read_session() as session:
        return explaining_plans.explain_plan(session, plan, layers=layers, most=most)


def only(found: PlanExplanation) -> ExplainedGroup:
    (group,) = found.groups
    return group


def bound_of(plan: PlanDocument, found: PlanExplanation) -> float:
    """Of the proof, from the margins: the least priced loss of every group, less what the limits allow."""
    proof = plan.proof
    total = 0.0
    for number, group in enumerate(found.groups):
        along = proof.direction.get(number, {}).get(group.format, 0.0)
        total += group.predicted_loss + proof.caution * group.standard_error * along
        total += min(option.margin for option in group.options if option.margin is not None)
    total += proof.multiplier * (plan.size.layer_bits - proof.budget_layer_bits)
    for count in proof.counts:
        total += count.at_most_multiplier * (count.layers - (count.at_most or 0))
        total += count.at_least_multiplier * ((count.at_least or 0) - count.layers)
    return total


@settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bits=st.sampled_from([3.5, 4.5, 6.0]),
    runtime=st.sampled_from(["generic", "vllm"]),
    rules=st.sampled_from(
        [
            {},
            {"pins": {"*.0.*.o_proj": "INT8_G64"}, "ceilings": {"*.up_proj": 6}},
            {"floors": {"*.down_proj": 4}, "caution": 1.5},
            {"counts": [{"above_bits": 5, "at_most": 2}, {"formats": ["INT3_G64"], "at_least": 4}]},
        ]
    ),
)
def test_margins_add_up_to_the_bound(database: Database, toy: str, bits: float, runtime: str, rules: dict[str, Any]) -> None:
    plan = stored_plan(database, runtime=runtime, budget={"effective_bits": bits}, **rules)
    found = explained(database, plan.id)
    assert bound_of(plan, found) == pytest.approx(plan.proof.lagrangian_bound, rel=1e-9)
    assert [one.layer for one in found.layers] == [choice.layer for choice in plan.choices]
    assert found.price_per_megabyte == plan.price_per_megabyte
    for layer, choice in zip(found.layers, plan.choices, strict=True):
        assert (layer.format, layer.size_bits) == (choice.format, choice.size_bits)
        assert layer.layer in found.groups[layer.group].layers
    for group, stored in zip(found.groups, plan.groups, strict=True):
        check(group, plan)
        assert group.layers == stored.layers
        assert (group.next_up is None) == (stored.next_up is None)
        if group.next_up is not None and stored.next_up is not None:
            assert group.next_up.format == stored.next_up.format
            assert group.next_up.more_bits == stored.next_up.more_bits


def check(group: ExplainedGroup, plan: PlanDocument) -> None:
    chosen = next(option for option in group.options if option.chosen)
    assert (chosen.format, chosen.margin, chosen.size_bits) == (group.format, 0.0, group.size_bits)
    assert chosen.predicted_loss == pytest.approx(group.predicted_loss)
    assert {option.format for option in group.options} == set(plan.formats)
    for option in group.options:
        allowed = option.size_bits is not None
        assert allowed == (not option.refusals) == (option.margin is not None) == (option.predicted_loss is not None)
    assert set(group.held_by) == {reason for option in group.options for reason in option.refusals}
    allowed_options = {option.format: option for option in group.options if option.size_bits is not None}
    if group.flip is None:
        assert len(allowed_options) == 1
        return
    others = [option.margin for option in allowed_options.values() if not option.chosen and option.margin is not None]
    assert group.flip.margin == min(others)
    other = allowed_options[group.flip.format]
    if group.flip.price_per_megabyte is not None and not plan.proof.counts and not plan.proof.caution:
        price = group.flip.price_per_megabyte / 8_000_000
        assert other.predicted_loss is not None
        assert other.size_bits is not None
        here = group.predicted_loss + price * group.size_bits
        assert here == pytest.approx(other.predicted_loss + price * other.size_bits, rel=1e-9)
    for neighbour, sign in ((group.next_up, 1), (group.next_down, -1)):
        if neighbour is not None:
            assert neighbour.more_bits * sign > 0
            assert neighbour.price_per_megabyte == pytest.approx(-neighbour.loss_change / neighbour.more_bits * 8_000_000)
            assert neighbour.of_plan_price == pytest.approx(neighbour.price_per_megabyte / plan.price_per_megabyte)


def test_refusals_name_the_runtime_the_rule_the_tie_and_the_cell(database: Database, toy: str) -> None:
    failed = get_format("INT5_G64")
    cell = Cell(
        "model.layers.0.self_attn.o_proj", failed.name, failed.identity, CellStatus.NON_FINITE, None, None, 0.0, None, None
    )
    with database.session() as session:
        store_cells(session, toy, synthetic.setting(), [cell])
    rules: dict[str, Any] = {
        "floors": {"*.self_attn.o_proj": 4},
        "ceilings": {"model.layers.0.self_attn.o_proj": 6},
        "menus": {"*.k_proj": ["INT4_G64", "INT8_G64"]},
    }
    plan = stored_plan(database, runtime="vllm", budget={"effective_bits": 5}, **rules)
    of = {option.format: option.refusals for option in only(explained(database, plan.id, "model.layers.0.*.o_proj")).options}
    assert of == {
        "INT4_G64": [],
        "INT6_G64": [],
        "INT2_G64": ["floor *.self_attn.o_proj=4"],
        "INT3_G64": ["floor *.self_attn.o_proj=4"],
        "INT5_G64": ["its cell is non_finite"],
        "INT8_G64": ["ceiling model.layers.0.self_attn.o_proj=6"],
        "FP8": ["ceiling model.layers.0.self_attn.o_proj=6"],
        "BF16": ["ceiling model.layers.0.self_attn.o_proj=6"],
        "NF4_G64": ["vllm: vLLM has no kernel for NF4_G64"],
    }
    group = only(explained(database, plan.id, "model.layers.1.self_attn.q_proj"))
    assert [name.rpartition(".")[2] for name in group.layers] == ["q_proj", "k_proj", "v_proj"]
    assert group.tied_by == ["vllm stores them in one format"]
    refusal = next(option.refusals for option in group.options if option.format == "INT5_G64")
    assert refusal == ["model.layers.1.self_attn.k_proj: menu *.k_proj=INT4_G64,INT8_G64"]


def test_caches_are_explained_with_the_weights(database: Database, toy: str) -> None:
    cached_model(database)
    budget = {"resident_bytes": 400_000, "context": 512}
    plan = stored_plan(database, model="cached", budget=budget, kv_formats=["INT8", "BF16"])
    found = explained(database, plan.id, "*_cache")
    assert [layer.layer for layer in found.layers] == [choice.layer for choice in plan.kv]
    assert {layer.kind for layer in found.layers} == {"k_cache", "v_cache"}
    assert all(len(group.options) == 2 for group in found.groups)
    whole = explained(database, plan.id)
    assert bound_of_whole(plan, whole) == pytest.approx(plan.proof.lagrangian_bound, rel=1e-9)


def bound_of_whole(plan: PlanDocument, found: PlanExplanation) -> float:
    least = sum(min(option.margin for option in group.options if option.margin is not None) for group in found.groups)
    used = sum(group.size_bits for group in found.groups)
    return plan.predicted.loss + least + plan.proof.multiplier * (used - plan.proof.budget_layer_bits)


def test_several_limits_have_several_prices(database: Database, toy: str) -> None:
    plan = stored_plan(database, budget={"effective_bits": 5.0, "bit_operations": 40_000_000}, allow_slack=True)
    found = explained(database, plan.id)
    assert {price.limit for price in found.prices} == {limit.kind for limit in plan.limits if limit.multiplier}
    least = sum(min(option.margin for option in group.options if option.margin is not None) for group in found.groups)
    slack = sum(limit.multiplier * (limit.whole_used - limit.whole_units) for limit in plan.limits)
    assert plan.predicted.loss + least + slack == pytest.approx(plan.proof.lagrangian_bound, rel=1e-9)


def test_a_pattern_and_a_limit_choose_what_is_shown(database: Database, toy: str) -> None:
    plan = stored_plan(database)
    found = explained(database, plan.id, "*.down_proj", most=1)
    assert (found.matched, [layer.layer for layer in found.layers]) == (2, ["model.layers.0.mlp.down_proj"])
    assert len(found.groups) == 1
    with pytest.raises(InvalidRequestError, match="matches no planned layer; a layer name looks like"):
        explained(database, plan.id, "no.such.*")
    with pytest.raises(NotFoundError):
        explained(database, "nobody")


def test_kernels_and_what_was_measured_since_are_said(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = stored_plan(database, pins={"*": "INT4_G64"}, allow_slack=True)
    profile = replace(get_runtime("generic"), kernel_needs=lambda fmt: f"a kernel of {fmt.num_bits} bits")
    monkeypatch.setitem(RUNTIMES, "generic", profile)
    found = explained(database, plan.id)
    assert found.kernels == {"INT4_G64": "a kernel of 4 bits"}
    assert found.notes == []
    assert all(group.flip is None for group in found.groups)
    with database.session() as session:
        synthetic.add_cells(session, synthetic.description(), synthetic.setting(), formats=MENU, seed=5)
    assert explained(database, plan.id).notes[0].startswith("cells of these curves were measured since")


def test_a_runtime_that_ties_other_layers_since_is_said(database: Database, toy: str) -> None:
    tied = stored_plan(database, runtime="vllm", budget={"effective_bits": 5})
    with database.session() as session:
        older = tied.request.model_copy(update={"runtime": "generic"})
        plans.store_plan(session, tied.model_copy(update={"id": "older", "runtime": "generic", "request": older}))
    with pytest.raises(ConflictError, match="runtime 'generic' ties other layers than when plan older was made"):
        explained(database, "older")


def test_in_memory_pools_a_format_lies_where_it_is_cheapest(database: Database, toy: str) -> None:
    with database.session() as session:
        create_device(session, CreateDevice.model_validate(DEVICE))
    budget = {"pool_bytes": {"vram": 220_000, "ram": 80_000}, "device": "desk"}
    plan = stored_plan(database, budget=budget)
    found = explained(database, plan.id)
    assert {price.limit for price in found.prices} <= {"pool_bytes of vram", "pool_bytes of ram"}
    least = sum(min(option.margin for option in group.options if option.margin is not None) for group in found.groups)
    slack = sum(limit.multiplier * (limit.whole_used - limit.whole_units) for limit in plan.limits)
    assert plan.predicted.loss + least + slack == pytest.approx(plan.proof.lagrangian_bound, rel=1e-9)
    other = stored_plan(database, budget=budget | {"pool_bytes": {"vram": 240_000, "ram": 80_000}})
    with database.read_session() as session:
        limits = plan_diffs.diff_plans(session, plan.id, other.id).limits
    assert [limit.kind for limit in limits] == ["pool_bytes of vram", "pool_bytes of ram"]
