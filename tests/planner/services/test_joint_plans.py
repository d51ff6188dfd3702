"""Plans under several limits, with caches, of seconds, and of the fewest bytes: what the documents say holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from planner.build import Classes
from planner.devices import PICOSECONDS, Phase, latency_table
from planner.errors import (
    BudgetBelowFloorError,
    InvalidRequestError,
    LossBelowFloorError,
    NotFoundError,
    PinConflictError,
    UnmeasuredError,
    UnsolvedError,
)
from planner.runtimes import get_runtime
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plan_keeping import PlanFilters
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import frontiers, models, plan_listing, plans
from planner.services.asking import ask, beside_caches
from planner.services.devices import get_device
from planner.services.preparing import prepare
from planner.solving import Solved, solve_plan
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.formats.registry import get_format
from tests import synthetic
from tests.planner.services import cached_model

CONTEXT = 1024
MEMORY = {"resident_bytes": 450_000, "context": CONTEXT}
KV = ["INT8", "INT4", "INT4_CHANNEL", "BF16"]


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def toy(database: Database) -> str:
    with database.session() as session:
        return cached_model.add(session)


def _made(database: Database, **request: object) -> PlanDocument:
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate({"model": "toy", "budget": MEMORY} | request))


def _cache_bytes(plan: PlanDocument, *, batch: int = 1) -> int:
    """From the names of the formats alone."""
    bits = 0
    for choice in plan.kv:
        fmt = get_cell_format(choice.format)
        assert isinstance(fmt, KVCacheFormat)
        one = fmt.size_bits(tokens=plan.budget.context, heads=cached_model.KV_HEADS, head_dim=cached_model.HEAD_DIM)
        assert choice.size_bits == batch * (one - fmt.tensor_bits) + fmt.tensor_bits
        bits += choice.size_bits
    return -(-bits // 8)


def test_weights_and_caches_share_one_line_of_memory(database: Database, toy: str) -> None:
    plan = _made(database, kv_formats=KV)
    assert [choice.layer for choice in plan.kv] == [
        f"model.layers.{block}.self_attn.{kind}" for block in range(2) for kind in ("k_cache", "v_cache")
    ]
    assert plan.size.kv_bytes == _cache_bytes(plan)
    assert plan.size.resident_bytes <= plan.size.file_bytes + plan.size.kv_bytes
    (limit,) = plan.limits
    assert (limit.kind, limit.used) == ("resident_bytes", plan.size.resident_bytes)
    assert limit.whole_used <= limit.whole_units
    assert plan.proof.status == "optimal"
    assert plan.predicted.loss == pytest.approx(sum(group.predicted_loss for group in [*plan.groups, *plan.kv_groups]))
    assert {choice.group for choice in plan.kv} == set(range(len(plan.kv_groups)))
    assert any("one at a time" in note for note in plan.notes)
    assert plan.provenance.kv_setting is not None
    fixed = _made(database, budget=MEMORY | {"resident_bytes": 800_000}, kv_formats=["BF16"])
    assert fixed.size.kv_bytes == 2 * 2 * 64 * CONTEXT * 2
    apart = _made(database, budget=MEMORY | {"resident_bytes": 800_000})
    assert (apart.kv, apart.kv_groups, apart.provenance.kv_setting) == ([], [], None)
    assert apart.size == fixed.size
    assert apart.predicted.loss == pytest.approx(fixed.predicted.loss)


def test_a_longer_context_takes_bits_from_the_weights_and_both_from_the_caches(database: Database, toy: str) -> None:
    found = [_made(database, budget=MEMORY | {"context": tokens}, kv_formats=KV) for tokens in (128, 512, 1400)]
    bits = [plan.size.effective_bits for plan in found]
    per_token = [plan.size.kv_bytes / plan.budget.context for plan in found]
    assert bits == sorted(bits, reverse=True)
    assert per_token == sorted(per_token, reverse=True)
    assert bits[0] > bits[-1]
    assert per_token[0] > per_token[-1]


def test_batches_have_caches_of_their_own(database: Database, toy: str) -> None:
    plan = _made(database, budget={"resident_bytes": 900_000, "context": 1024, "batch": 3}, kv_formats=["FP8", "INT4"])
    assert plan.size.kv_bytes == _cache_bytes(plan, batch=3)


def test_an_engine_that_knows_one_cache_type_gets_one(database: Database, toy: str) -> None:
    plan = _made(database, runtime="vllm", kv_formats=["FP8", "INT4", "BF16"], budget=MEMORY | {"resident_bytes": 600_000})
    assert {choice.format for choice in plan.kv} in ({"K_FP8", "V_FP8"}, {"K_BF16", "V_BF16"})
    assert len(plan.kv_groups) == 1
    assert plan.kv_groups[0].format in ("FP8", "BF16")
    with pytest.raises(PinConflictError, match="vllm keeps caches in BF16, FP16, FP8 only"):
        _made(database, runtime="vllm", kv_formats=["INT4"])


def test_rules_reach_caches_by_their_names(database: Database, toy: str) -> None:
    plan = _made(
        database,
        kv_formats=KV,
        budget=MEMORY | {"resident_bytes": 500_000},
        pins={"*.0.self_attn.k_cache": "K_INT4_CHANNEL", "*.q_proj": "INT8_G64"},
        floors={"*.v_cache": 8},
        menus={"*.1.self_attn.k_cache": ["K_INT8", "K_INT4"]},
    )
    formats = {choice.layer: choice.format for choice in plan.kv}
    assert formats["model.layers.0.self_attn.k_cache"] == "K_INT4_CHANNEL"
    assert formats["model.layers.1.self_attn.k_cache"] in ("K_INT8", "K_INT4")
    assert all(get_cell_format(name).num_bits in (8, 16) for name in formats.values() if name.startswith("V_"))
    assert {choice.format for choice in plan.choices if choice.kind == "q_proj"} == {"INT8_G64"}
    with pytest.raises(InvalidRequestError, match="matches no K cache"):
        _made(database, kv_formats=KV, pins={"*.v_cache": "K_INT4"})
    with pytest.raises(InvalidRequestError, match="matches no planned layer"):
        _made(database, kv_formats=KV, floors={"*.w_cache": 4})


def test_what_was_measured_can_be_asked_for_by_that_word(database: Database, toy: str) -> None:
    plan = _made(database, kv_formats=["measured"], budget=MEMORY | {"context": 2200})
    assert any(choice.format.endswith("INT2") for choice in plan.kv)
    with pytest.raises(UnmeasuredError, match=r"cells of caches are not measured: K_NVFP4, V_NVFP4.*--probe kv_cache") as error:
        _made(database, kv_formats=["NVFP4"])
    assert error.value.fields["formats"] == ["K_NVFP4", "V_NVFP4"]


def test_what_caches_need_is_said(database: Database, toy: str) -> None:
    with database.session() as session:
        row = session.get_one(ModelRow, toy)
        row.heads = row.kv_heads = None
    with pytest.raises(InvalidRequestError, match="register the same files again"):
        _made(database, kv_formats=KV)
    with database.session() as session:
        models.register(session, cached_model.description())
    assert _made(database, kv_formats=KV).kv
    with pytest.raises(InvalidRequestError, match="need the context"):
        _made(database, kv_formats=KV, budget={"effective_bits": 4.5})


def test_relative_losses_are_not_added_to_nats(database: Database, toy: str) -> None:
    with database.session() as session:
        how = synthetic.setting(probe="output_error")
        relative = type(how)(*(how.probe, 1, "rtn", 1, None, {"made_up": "yes"}), in_nats=False, additive=True)
        synthetic.add_cells(session, cached_model.description(), relative)
    with pytest.raises(InvalidRequestError, match="relative"):
        _made(database, kv_formats=KV, probe="output_error")


def test_every_limit_is_kept_and_priced(database: Database, toy: str) -> None:
    budget = MEMORY | {"effective_bits": 4.6, "bit_operations": 19_000_000, "context": CONTEXT}
    plan = _made(database, kv_formats=KV, budget=budget)
    kinds = [limit.kind for limit in plan.limits]
    assert kinds == ["effective_bits", "resident_bytes", "bit_operations"]
    for limit in plan.limits:
        assert limit.whole_used <= limit.whole_units
        assert limit.least <= limit.used <= limit.limit
        assert limit.binds == (limit.price > 0)
    used = {limit.kind: limit.used for limit in plan.limits}
    assert used["effective_bits"] == pytest.approx(plan.size.effective_bits)
    shapes = {layer.name: layer for layer in cached_model.description().layers}
    products = sum(shapes[c.layer].parameters * get_format(c.format).num_bits * 16 for c in plan.choices)
    assert used["bit_operations"] == products
    assert plan.binding == ", ".join(limit.kind for limit in plan.limits if limit.binds)
    assert plan.proof.status == "optimal"
    reference = plan.references[0]
    assert reference.kv_formats is not None
    assert reference.size is not None
    assert reference.size.resident_bytes <= MEMORY["resident_bytes"]
    assert reference.size.effective_bits <= 4.6
    assert reference.loss is not None
    assert reference.loss >= plan.predicted.loss


def test_a_looser_limit_gives_the_loss_that_its_price_foretells_at_least(database: Database, toy: str) -> None:
    """The shadow price is a supergradient: no more is gained than price × what is added."""
    plan = _made(database, kv_formats=KV)
    (limit,) = plan.limits
    more = _made(database, kv_formats=KV, budget=MEMORY | {"resident_bytes": MEMORY["resident_bytes"] + 4_000})
    gained = plan.predicted.loss - more.predicted.loss
    slack = plan.predicted.loss - plan.proof.lagrangian_bound
    assert 0 <= gained <= limit.price * 4_000 + slack + 1e-12


def test_seconds_are_those_of_the_device(database: Database, toy: str) -> None:
    budget = {"decode_seconds": 1, "prefill_seconds": 1, "device": "rtx4090", "context": 512, "batch": 2}
    loose = _made(database, budget=budget, allow_slack=True, runtime="vllm")
    decode, prefill = loose.limits
    assert "seconds of 0 of 14 layers on rtx4090 were measured; the others are the roofline's" in loose.notes
    assert (decode.device, loose.provenance.device and loose.provenance.device.name) == ("rtx4090", "rtx4090")
    tight = decode.least + (decode.used - decode.least) * 0.4
    plan = _made(database, budget=budget | {"decode_seconds": tight}, runtime="vllm")
    kept = plan.limits[0]
    assert kept.least <= kept.used <= tight < decode.used
    assert kept.whole_used <= kept.whole_units
    assert (kept.binds, plan.binding) == (True, "decode_seconds")
    assert plan.predicted.loss > loose.predicted.loss
    with database.read_session() as session:
        times = _decode_picoseconds(session, plan)
    assert kept.whole_used == times
    assert kept.used == pytest.approx((times + round(kept.limit * PICOSECONDS) - kept.whole_units) / PICOSECONDS, abs=2e-12)
    assert prefill.used < 1
    with pytest.raises(BudgetBelowFloorError, match="seconds to decode a token on rtx4090"):
        _made(database, budget=budget | {"decode_seconds": 1e-9})
    with pytest.raises(NotFoundError, match="abacus"):
        _made(database, budget=budget | {"device": "abacus"})


def _decode_picoseconds(session: Session, plan: PlanDocument) -> int:
    """The chosen layers one by one."""
    classes: Classes = prepare(session, plan.request).classes
    layers = {layer.name: layer for layer in classes.layers}
    device, runtime = get_device(session, "rtx4090"), get_runtime("vllm")
    total = 0
    for choice in plan.choices:
        fmt = get_format(choice.format)
        table = latency_table(device, [layers[choice.layer]], [fmt], runtime, phase=Phase.DECODE, batch=2, tokens=512)
        total += int(table[0, 0])
    return total


def test_smaller_caches_are_read_faster(database: Database, toy: str) -> None:
    budget = {"decode_seconds": 1, "device": "rtx4090", "context": 100_000}
    wide, narrow = (_made(database, budget=budget, kv_formats=[name], allow_slack=True) for name in ("BF16", "INT4"))
    apart = _made(database, budget=budget, allow_slack=True)
    assert narrow.limits[0].used < wide.limits[0].used
    assert wide.limits[0].used == pytest.approx(apart.limits[0].used, abs=1e-11)


@pytest.mark.parametrize("kv", [None, KV])
def test_the_smallest_plan_of_a_loss_answers_the_budget_question_backwards(
    database: Database, toy: str, kv: list[str] | None
) -> None:
    plan = _made(database, budget={"max_loss": 0.02, "context": 512}, kv_formats=kv)
    smallest = plan.proof.smallest
    assert smallest is not None
    assert plan.predicted.loss <= 0.02
    assert smallest.bits == smallest.least_bits == plan.proof.budget_layer_bits
    assert plan.binding == "max_loss"
    back = _made(database, budget={"resident_bytes": plan.size.resident_bytes, "context": 512}, kv_formats=kv)
    assert back.predicted.loss <= plan.predicted.loss
    if plan.size.resident_bytes * 8 > smallest.bits:  # one byte less cannot keep the loss
        less = _made(database, budget={"resident_bytes": plan.size.resident_bytes - 1, "context": 512}, kv_formats=kv)
        assert less.predicted.loss > 0.02
    reference = plan.references[0]
    assert reference.loss is not None
    assert reference.loss <= 0.02
    assert reference.size is not None
    assert reference.size.resident_bytes >= plan.size.resident_bytes
    with pytest.raises(LossBelowFloorError, match="the least that these formats and limits allow is"):
        _made(database, budget={"max_loss": 1e-9, "context": 512}, kv_formats=kv, ceilings={"*_proj": 4})


def test_a_smallest_plan_that_the_deadline_stopped_says_so(database: Database, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []

    def slow(*args: Any, deadline: float | None, **rest: Any) -> Solved:
        given.append(deadline)
        if len(given) > 2:
            msg = "the solver found no plan (limit)"
            raise UnsolvedError(msg)
        return solve_plan(*args, deadline=deadline, **rest)

    monkeypatch.setattr(plans, "solve_plan", slow)
    plan = _made(database, budget={"max_loss": 0.02, "context": 512}, deadline_seconds=7.0)
    smallest = plan.proof.smallest
    assert smallest is not None
    assert smallest.least_bits < smallest.bits
    assert plan.predicted.loss <= 0.02
    assert any(note.startswith("not proven to be the smallest plan of this loss: none of fewer") for note in plan.notes)
    assert given[0] == 7.0
    assert all(seconds is not None and seconds < 7.0 for seconds in given[1:])


def test_plans_of_new_limits_are_stored_and_listed(database: Database, toy: str) -> None:
    with database.session() as session:
        made = plans.create_plan(session, PlanRequest.model_validate({"model": "toy", "budget": {"max_loss": 0.02}}))
        other = plans.create_plan(
            session, PlanRequest.model_validate({"model": "toy", "budget": MEMORY, "kv_formats": KV, "alternatives": 1})
        )
    with database.read_session() as session:
        assert plans.get_plan(session, made.id) == made
        assert plans.get_plan(session, other.id) == other
        listed = plan_listing.list_plans(session, PlanFilters.model_validate({"budget_kind": "max_loss"}))
    assert [item.id for item in listed.items] == [made.id]
    (alternative,) = other.alternatives
    assert alternative.layers == len(alternative.changes)


def test_caution_and_counts_hold_beside_caches(database: Database, toy: str) -> None:
    plan = _made(database, kv_formats=KV, caution=2.0, counts=[{"above_bits": 4, "at_most": 3}])
    assert sum(get_format(choice.format).num_bits > 4 for choice in plan.choices) == plan.proof.counts[0].layers <= 3
    assert plan.proof.objective == pytest.approx(plan.predicted.loss + 2 * plan.predicted.standard_error)


def test_a_frontier_has_caches_in_every_point(database: Database, toy: str) -> None:
    with database.read_session() as session:
        request = FrontierRequest(model="toy", points=12, proven=True, context=CONTEXT, kv_formats=KV)
        found = frontiers.make_frontier(session, request)
    assert [point.resident_bytes for point in found.points] == sorted(point.resident_bytes for point in found.points)
    assert found.points[0].kv_bytes < found.points[-1].kv_bytes == 2 * 2 * 64 * CONTEXT * 2
    assert found.provenance.kv_setting is not None
    middle = found.points[6]
    plan = _made(database, kv_formats=KV, budget={"resident_bytes": middle.resident_bytes, "context": CONTEXT})
    assert plan.predicted.loss == pytest.approx(middle.predicted_loss)
    assert {uniform.kv_format for uniform in found.uniforms} == {"INT8", "INT4", "BF16"}
    assert all(point.kv_format is not None for point in found.uniforms)


def test_a_search_holds_the_caches(database: Database, toy: str) -> None:
    budget = MEMORY | {"effective_bits": 4.6}
    plan = _made(database, kv_formats=KV, budget=budget)
    with database.read_session() as session:
        prepared = prepare(session, plan.request)
        asked = ask(session, prepared, plan.request)
        bits, rows = beside_caches(asked, plan.kv)
    cache_bits = sum(choice.size_bits for choice in plan.kv)
    assert bits == asked.limits.budget_bits - cache_bits
    (effective,) = rows
    assert effective.limit == asked.rows[0].limit
    assert effective.table.shape == prepared.posed.classes.legal.shape
    assert asked.whole.weight_bits(asked.whole.classes.legal.argmax(axis=1)) <= bits


def test_of_an_engine_that_nothing_is_known_of_caches_stay_as_they_are(database: Database, toy: str) -> None:
    with pytest.raises(PinConflictError, match="torch-cpu keeps caches in BF16, FP16 only, not in INT8"):
        _made(database, runtime="torch-cpu", kv_formats=["INT8"])
    with pytest.raises(PinConflictError, match=r"llama\.cpp keeps caches in BF16, FP16, Q4_0, Q8_0 only"):
        _made(database, runtime="llama.cpp", kv_formats=["FP8"])
