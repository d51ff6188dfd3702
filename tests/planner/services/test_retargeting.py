"""The same question for another runtime: what is planned, what is dropped, and why layers changed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import (
    BudgetAboveCeilingError,
    BudgetBelowFloorError,
    InvalidRequestError,
    NotFoundError,
    PinConflictError,
    UnmeasuredError,
)
from planner.runtimes import RUNTIMES, get_runtime
from planner.schemas.plans import PlanRequest
from planner.schemas.retargeting import Retargeted, RetargetRequest
from planner.services import plans, retargeting
from planner.storage.database import Database
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from tests import synthetic
from tests.planner.services.stored_plans import cached_model, stored_plan

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
MENU = (*synthetic.FORMATS, "NF4_G64")


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(), formats=MENU, head=True)
    return model


def retargeted(database: Database, plan: str, runtime: str = "vllm", **request: object) -> Retargeted:
    with database.read_session() as session:
        asked = RetargetRequest.model_validate({"runtime": runtime} | request)
        return retargeting.retarget_plan(session, plan, asked)


@settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bits=st.sampled_from([3.5, 4.5, 6.0]),
    runtimes=st.tuples(st.sampled_from(["generic", "vllm"]), st.sampled_from(["generic", "vllm"])),
    rules=st.sampled_from(
        [
            {},
            {"pins": {"*.0.*.o_proj": "INT8_G64"}},
            {"floors": {"*.down_proj": 4}},
            {"counts": [{"above_bits": 5, "at_most": 3}]},
        ]
    ),
)
def test_it_is_the_plan_of_the_same_request(
    database: Database, toy: str, bits: float, runtimes: tuple[str, str], rules: dict[str, Any]
) -> None:
    plan = stored_plan(database, runtime=runtimes[0], budget={"effective_bits": bits}, **rules)
    found = retargeted(database, plan.id, runtimes[1])
    taken = [
        name
        for name in plan.formats
        if any(get_runtime(runtimes[1]).refusal(get_format(name), layer) is None for layer in synthetic.description().layers)
    ]
    assert found.plan.formats == taken
    assert {one.format for one in found.dropped} == set(plan.formats) - set(taken)
    asked = {"model": toy, "budget": {"effective_bits": bits}, "formats": taken, "runtime": runtimes[1]} | rules
    with database.read_session() as session:
        fresh = plans.make_plan(session, PlanRequest.model_validate(asked))
    assert found.plan.choices == fresh.choices
    assert found.plan.predicted == fresh.predicted
    assert found.plan.proof.gap == 0
    assert found.diff.loss_change == found.plan.predicted.loss - plan.predicted.loss
    assert sorted(layer for reason in found.reasons for layer in reason.layers) == sorted(
        change.layer for change in found.diff.changed
    )
    assert sum(total.layers for total in found.causes) == len(found.diff.changed)
    assert found.repacked_bits + sum(change.bits_change for change in found.diff.changed) == found.diff.bits_change
    assert found.gap_change == found.plan.proof.gap - plan.proof.gap
    if runtimes[0] == runtimes[1]:
        assert found.reasons == []
        assert found.diff.loss_change == pytest.approx(0, abs=1e-12)  # sums over the formats in another order


def test_a_format_that_is_refused_everywhere_is_dropped_with_the_reason(database: Database, toy: str) -> None:
    plan = stored_plan(database, pins={"*.o_proj": "NF4_G64"}, menus={"*.v_proj": ["NF4_G64", "INT4_G64"]})
    with pytest.raises(
        InvalidRequestError, match=r"pins \*\.o_proj to NF4_G64, which runtime 'vllm' refuses \(vLLM has no kernel"
    ):
        retargeted(database, plan.id)
    plan = stored_plan(database, menus={"*.v_proj": ["NF4_G64", "INT4_G64"]}, formats=["INT3_G64", "INT4_G64", "NF4_G64"])
    found = retargeted(database, plan.id)
    assert [one.model_dump() for one in found.dropped] == [{"format": "NF4_G64", "reason": "vLLM has no kernel for NF4_G64"}]
    assert found.notes == ["dropped NF4_G64: vLLM has no kernel for NF4_G64"]
    assert found.plan.request.menus == {"*.v_proj": ["INT4_G64"]}
    assert found.plan.notes[-1] == f"retargeted from plan {plan.id} for generic"
    plan = stored_plan(database, menus={"*.v_proj": ["NF4_G64"]})
    with pytest.raises(InvalidRequestError, match=r"every format of the plan's menu of \*\.v_proj \(NF4_G64\)"):
        retargeted(database, plan.id)


def test_counts_lose_what_is_dropped(database: Database, toy: str) -> None:
    limits: list[dict[str, object]] = [
        {"formats": ["NF4_G64", "INT8_G64"], "at_least": 2},
        {"formats": ["NF4_G64"], "at_most": 3},
    ]
    plan = stored_plan(database, counts=limits)
    found = retargeted(database, plan.id)
    assert [count.formats for count in found.plan.request.counts] == [["INT8_G64"]]
    assert found.plan.proof.counts[0].layers >= 2
    assert "the count of * in NF4_G64 holds nothing any more" in found.notes
    plan = stored_plan(database, counts=[{"formats": ["NF4_G64"], "at_least": 1}])
    with pytest.raises(InvalidRequestError, match=r"at least 1 layers of \* in NF4_G64, which the runtime refuses"):
        retargeted(database, plan.id)


def test_where_nothing_is_left_it_says_what_there_is(database: Database, toy: str) -> None:
    plan = stored_plan(database, formats=["NF4_G64"], budget={"effective_bits": 4.26}, allow_slack=True)
    with pytest.raises(InvalidRequestError, match=r"takes none of the formats NF4_G64 .* ask with formats .*INT4_G64") as refused:
        retargeted(database, plan.id)
    assert set(refused.value.fields["formats"]) == set(synthetic.FORMATS)  # type: ignore[call-overload]
    found = retargeted(database, plan.id, formats=["INT2_G64", "INT4_G64"])
    assert found.plan.formats == ["INT2_G64", "INT4_G64"]
    assert {reason.cause for reason in found.reasons} == {"refused"}
    with pytest.raises(UnmeasuredError, match="INT7_G64"):
        retargeted(database, plan.id, formats=["INT4_G64", "INT7_G64"])


def test_causes_name_what_holds_each_group(database: Database, toy: str) -> None:
    pins = {
        "model.layers.0.self_attn.q_proj": "INT4_G64",
        "model.layers.0.self_attn.[kv]_proj": "INT5_G64",
        "model.layers.0.mlp.gate_proj": "NF4_G64",
        "model.layers.0.mlp.up_proj": "NF4_G64",
    }
    plan = stored_plan(database, pins=pins, budget={"effective_bits": 4.5})
    with database.session() as session:  # the same assignment, as if it had been found without the pins
        document = plan.model_copy(update={"id": "unpinned", "request": plan.request.model_copy(update={"pins": {}})})
        plans.store_plan(session, document)
    found = retargeted(database, "unpinned")
    reasons = {layer: reason for reason in found.reasons for layer in reason.layers}
    gate = reasons["model.layers.0.mlp.gate_proj"]
    assert (gate.cause, gate.reason) == ("refused", "model.layers.0.mlp.gate_proj: vLLM has no kernel for NF4_G64")
    changed = next(layer for layer in reasons if "layers.0.self_attn" in layer and layer.rpartition(".")[2][0] in "qkv")
    assert reasons[changed].cause == "tied"
    assert reasons[changed].reason.endswith("they had INT4_G64, INT5_G64")
    group = found.diff.groups[gate.group]
    assert (gate.bits_change, gate.loss_change) == (group.bits_change, group.loss_change)
    assert [total.layers for total in found.causes] == sorted((total.layers for total in found.causes), reverse=True)


def test_a_format_that_is_packed_otherwise(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that stores 5 bits as 8 is not given 5 bits, and the plan says why."""

    def in_whole_widths(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
        padded = {"INT3_G64": "INT4_G64", "INT5_G64": "INT8_G64", "INT6_G64": "INT8_G64"}.get(candidate.name, candidate.name)
        return get_format(padded).size_bits(shape)

    monkeypatch.setitem(RUNTIMES, "padding", replace(get_runtime("generic"), name="padding", size_bits=in_whole_widths))
    plan = stored_plan(database, budget={"effective_bits": 5.0}, formats=["INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64"])
    assert {"INT5_G64", "INT6_G64"} & {choice.format for choice in plan.choices}
    found = retargeted(database, plan.id, "padding")
    assert not {"INT5_G64", "INT6_G64"} & {choice.format for choice in found.plan.choices}
    assert found.causes[0].cause == "packing"
    reason = next(reason.reason for reason in found.reasons if reason.cause == "packing")
    assert "as padding packs it" in reason
    assert "in generic" in reason
    assert found.plan.size.effective_bits <= 5.0


def test_another_budget_and_slack(database: Database, toy: str) -> None:
    plan = stored_plan(database)
    found = retargeted(database, plan.id, budget={"effective_bits": 6.0})
    assert found.plan.size.effective_bits <= 6.0
    assert found.plan.predicted.loss < plan.predicted.loss
    with pytest.raises(BudgetBelowFloorError):
        retargeted(database, plan.id, budget={"effective_bits": 1.0})
    with pytest.raises(BudgetAboveCeilingError):
        retargeted(database, plan.id, formats=["INT3_G64"], allow_slack=False)
    with pytest.raises(BudgetAboveCeilingError):
        retargeted(database, plan.id, formats=["INT3_G64"], budget={"effective_bits": 7})
    found = retargeted(database, plan.id, formats=["INT3_G64"])
    assert "the plan's budget is above the largest plan of runtime 'vllm', which this is" in found.notes
    assert found.plan.binding is None
    assert {choice.format for choice in found.plan.choices} == {"INT3_G64"}
    assert {reason.cause for reason in found.reasons} == {"refused", "tied", "menu"}


def test_caches_come_along(database: Database, toy: str) -> None:
    """vLLM keeps all caches in one format, and not in INT8."""
    cached_model(database, formats=("INT8", "FP8"))
    plan = stored_plan(
        database,
        model="cached",
        budget={"resident_bytes": 400_000, "context": 512, "bit_operations": 10**9},
        kv_formats=["INT8", "FP8", "BF16"],
        pins={"model.layers.0.self_attn.k_cache": "K_INT8"},
        allow_slack=True,
    )
    assert "K_INT8" in {choice.format for choice in plan.kv}
    with pytest.raises(PinConflictError):
        retargeted(database, plan.id)
    plan = stored_plan(database, **(plan.request.model_dump() | {"pins": {}, "kv_formats": ["INT8", "FP8"]}))
    found = retargeted(database, plan.id)
    assert {choice.format for choice in found.plan.kv} == {"K_FP8", "V_FP8"}
    left = {choice.layer: choice.format for choice in plan.kv if choice.format.endswith("INT8")}
    assert {change.layer: change.format for change in found.diff.kv_changed} == left
    assert all(change.other_format.endswith("FP8") for change in found.diff.kv_changed)
    for name in left.values():
        assert any(note.startswith(f"caches leave {name}: vllm keeps caches in") for note in found.notes)
    assert [limit.kind for limit in found.diff.limits] == ["resident_bytes", "bit_operations"]
    used = {limit.kind: limit.used for limit in found.plan.limits}
    assert [limit.other_used for limit in found.diff.limits] == list(used.values())
    assert found.plan.size.resident_bytes <= 400_000


def test_cells_measured_since_are_said(database: Database, toy: str) -> None:
    plan = stored_plan(database)
    assert retargeted(database, plan.id).notes == ["dropped NF4_G64: vLLM has no kernel for NF4_G64"]
    with database.session() as session:
        synthetic.add_cells(session, synthetic.description(), synthetic.setting(), formats=MENU, seed=5)
    assert retargeted(database, plan.id).notes[-1].startswith("cells of these curves were measured since the old plan was made")


def test_unknown_plans_and_runtimes(database: Database, toy: str) -> None:
    with pytest.raises(NotFoundError):
        retargeted(database, "nobody")
    with pytest.raises(InvalidRequestError, match="unknown runtime"):
        retargeted(database, stored_plan(database).id, "abacus")
