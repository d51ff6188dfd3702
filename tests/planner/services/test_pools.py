"""Memory pools: what lies where, beside brute force, and to the last bit of every pool."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from planner.errors import BudgetConflictError, InvalidRequestError
from planner.schemas.devices import CreateDevice, PutLatencies
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plans
from planner.services.asking import ask
from planner.services.devices import create_device, put_latencies
from planner.services.exporting import export_plan
from planner.services.preparing import prepare
from planner.storage.database import Database
from tests import synthetic
from tests.planner.services import cached_model

DEVICE = {
    "name": "desk",
    "pools": [{"name": "vram", "bandwidth": {"value": 1e12}}, {"name": "ram", "bandwidth": {"value": 5e10}}],
    "peaks": {"bf16": {"value": 1e14}},
}


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def toy(database: Database) -> str:
    with database.session() as session:
        create_device(session, CreateDevice.model_validate(DEVICE))
        return cached_model.add(session)


def _request(vram: int, ram: int, **request: object) -> PlanRequest:
    limits = request.pop("limits", {})
    assert isinstance(limits, dict)
    budget = {"pool_bytes": {"ram": ram, "vram": vram}, "device": "desk", "context": 64} | limits
    return PlanRequest.model_validate({"model": "toy", "budget": budget} | request)


def _made(database: Database, vram: int, ram: int, **request: object) -> PlanDocument:
    with database.read_session() as session:
        return plans.make_plan(session, _request(vram, ram, **request))


def test_every_pool_is_kept_to_the_last_bit_and_everything_lies_somewhere(database: Database, toy: str) -> None:
    plan = _made(database, 250_000, 80_000)
    assert [(limit.kind, limit.pool) for limit in plan.limits] == [("pool_bytes", "vram"), ("pool_bytes", "ram")]
    vram, ram = plan.placement
    sizes = {choice.layer: choice.size_bits for choice in plan.choices}
    assert sorted([*vram.layers, *ram.layers]) == sorted(sizes)
    for part, limit in zip(plan.placement, plan.limits, strict=True):
        assert part.size_bits == sum(sizes[layer] for layer in part.layers) == limit.whole_used <= limit.whole_units
        assert limit.used <= limit.limit
    kv = 2 * 2 * 64 * 64 * 2
    assert plan.limits[0].whole_units == 8 * (250_000 - plan.size.file_bytes + -(-plan.size.layer_bits // 8) - kv)
    assert plan.proof.status == "optimal"
    reference = plan.references[0]
    assert reference.loss is not None
    assert reference.loss >= plan.predicted.loss


def test_both_pools_together_are_as_good_as_one_of_their_bytes(database: Database, toy: str) -> None:
    """Items are small beside the pools, so little is lost by the wall between them; nothing is gained."""
    apart = _made(database, 250_000, 80_000)
    together = _made(database, 250_000, 80_000)
    one = PlanRequest.model_validate({"model": "toy", "budget": {"resident_bytes": 330_000, "context": 64}})
    with database.read_session() as session:
        whole = plans.make_plan(session, one)
    assert apart.predicted.loss == together.predicted.loss >= whole.predicted.loss * (1 - 1e-9)


def test_what_is_read_from_slow_memory_is_small(database: Database, toy: str) -> None:
    loose = _made(database, 250_000, 200_000, limits={"decode_seconds": 1.0})
    seconds = loose.limits[0].used * 0.7
    plan = _made(database, 250_000, 200_000, limits={"decode_seconds": seconds})
    decode = plan.limits[0]
    assert decode.used <= seconds < loose.limits[0].used
    assert decode.whole_used <= decode.whole_units
    assert plan.placement[1].size_bits < loose.placement[1].size_bits
    assert plan.predicted.loss >= loose.predicted.loss


def test_only_what_lies_in_the_first_pool_is_measured(database: Database, toy: str) -> None:
    """Latencies were measured with the weights there."""
    shapes = {layer.shape for layer in cached_model.description().layers}
    rows = [
        {"out_features": out, "in_features": into, "format": name, "batch": 1, "seconds": 1e-6}
        for out, into in shapes
        for name in synthetic.FORMATS
    ]
    with database.session() as session:
        put_latencies(session, "desk", PutLatencies.model_validate({"entries": rows, "method": "made up"}))
    plan = _made(database, 250_000, 200_000, limits={"decode_seconds": 1.0})
    vram, ram = plan.placement
    assert vram.layers
    assert ram.layers
    said = f"seconds of {len(vram.layers)} of {len(plan.choices)} layers on desk were measured; the others are the roofline's"
    assert said in plan.notes


def test_places_and_formats_are_the_best_of_all(database: Database) -> None:
    described = synthetic.description(blocks=1)
    names = ("INT3_G64", "INT4_G64")
    with database.session() as session:
        create_device(session, CreateDevice.model_validate(DEVICE))
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(), formats=names)
    request = _request(195_000, 40_000, runtime="vllm", shrinkage=False)
    with database.read_session() as session:
        plan = plans.make_plan(session, request)
        asked = ask(session, prepare(session, request), request)
    items = asked.limits.classes
    groups = len(items.groups)
    best = min(
        asked.curves.loss[np.arange(groups), choice].sum()
        for choice in itertools.product(range(len(items.formats)), repeat=groups)
        if all(limit.row.taken(np.array(choice)) <= limit.room for limit in asked.limits)
    )
    assert plan.predicted.loss == pytest.approx(best)


def test_caches_have_places_too(database: Database, toy: str) -> None:
    plan = _made(database, 350_000, 300_000, kv_formats=["INT8", "INT4"], limits={"context": 1024})
    placed = [layer for part in plan.placement for layer in part.layers]
    assert {choice.layer for choice in plan.kv} <= set(placed)
    bits = sum(part.size_bits for part in plan.placement)
    assert bits == plan.size.layer_bits + sum(choice.size_bits for choice in plan.kv)


def test_the_smallest_plan_of_a_loss_fits_into_the_pools(database: Database, toy: str) -> None:
    plan = _made(database, 250_000, 80_000, limits={"max_loss": 0.05}, counts=[{"above_bits": 6, "at_most": 2}])
    assert plan.predicted.loss <= 0.05
    assert plan.proof.smallest is not None
    assert all(limit.used <= limit.limit for limit in plan.limits)
    assert plan.proof.counts[0].layers <= 2


def test_the_json_export_says_what_lies_where(database: Database, toy: str) -> None:
    with database.session() as session:
        plan = plans.create_plan(session, _request(250_000, 80_000))
        exported = export_plan(session, plan.id, "json")
        assert exported["placement"] == {part.pool: part.layers for part in plan.placement}
        assert "placement" not in export_plan(session, plan.id, "compressed-tensors")


def test_what_pools_cannot_do_is_said(database: Database, toy: str) -> None:
    with pytest.raises(
        BudgetConflictError, match=r"in vram; .*in ram\. Under the others.*in vram \(most of it: .*_proj in"
    ) as error:
        _made(database, 170_000, 10_000)
    for said in error.value.fields["limits"]:  # type: ignore[attr-defined]
        assert said["pool"] in ("vram", "ram")
        assert said["floor_layers"][0]["layers"]
    with pytest.raises(InvalidRequestError, match="has the memory pools vram, ram: give bytes of vram"):
        _request_made(database, {"pool_bytes": {"ram": 10**6}, "device": "desk"})
    with pytest.raises(InvalidRequestError, match="caution or alternatives"):
        _made(database, 250_000, 80_000, caution=1.0)


def _request_made(database: Database, budget: dict[str, object]) -> PlanDocument:
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate({"model": "toy", "budget": budget}))
