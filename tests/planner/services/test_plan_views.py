"""A stored plan as tiles and pages, against its whole document."""

from collections import Counter
from dataclasses import replace

import pytest

from planner.errors import NotFoundError
from planner.schemas.plans import PlanDocument
from planner.services.plan_views import tiles, view_plan
from planner.services.plans import get_plan
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer, ModelDescription
from tests import synthetic
from tests.planner.services.evaluated_plans import made
from tests.planner.services.stored_plans import cached_model

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
EXPERTS = 5


def mixture() -> ModelDescription:
    """The toy with experts instead of dense projections, and one block with a single expert."""
    plain = synthetic.description()
    attention = [layer for layer in plain.layers if layer.block is not None and ".self_attn." in layer.name]
    experts = [
        Layer(f"model.layers.{block}.mlp.experts.{expert}.{kind}", kind, block, expert, 128, 128)
        for block in (0, 1)
        for expert in range(EXPERTS if block == 0 else 1)
        for kind in ("gate_proj", "up_proj", "down_proj")
    ]
    layers = (*attention, *experts, plain.layers[-1])
    return replace(plain, layers=layers, parameters=sum(layer.parameters for layer in layers))


def planned(database: Database, *bits: float) -> list[PlanDocument]:
    described = mixture()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        return [made(session, budget={"effective_bits": one}) for one in bits]


def test_the_facts_are_the_document_without_its_layers(database: Database) -> None:
    (plan,) = planned(database, 4.25)
    with database.read_session() as session:
        view = view_plan(session, plan.id)
        whole = get_plan(session, plan.id)
    assert view.facts == whole.model_copy(update={"choices": [], "groups": []})
    assert [choice["layer"] for choice in view.choices] == [choice.layer for choice in whole.choices]
    assert len(view.groups) == len(whole.groups)


def test_tiles_hold_every_layer_once_and_what_it_has(database: Database) -> None:
    (plan,) = planned(database, 4.25)
    with database.read_session() as session:
        found = tiles(session, view_plan(session, plan.id))
    expected: dict[tuple[int | None, str], Counter[str]] = {}
    for choice in plan.choices:
        expected.setdefault((choice.block, choice.kind), Counter())[choice.format] += 1
    assert {(tile.block, tile.kind): Counter(tile.formats) for tile in found} == expected
    assert all(tile.layers == sum(tile.formats.values()) for tile in found)
    of_experts = {tile.pattern: tile.layers for tile in found if "*" in tile.pattern}
    assert of_experts == {f"model.layers.0.mlp.experts.*.{kind}": EXPERTS for kind in ("gate_proj", "up_proj", "down_proj")}
    alone = [tile for tile in found if tile.layers == 1]
    assert {tile.pattern for tile in alone} <= {choice.layer for choice in plan.choices}  # a single expert has its own name
    for tile in alone:
        (name,) = tile.formats
        size = 16.0 if name == "BF16" else float(name[3]) + 0.25 if name.startswith("INT") else None
        assert size is None or tile.bits == size


def test_tiles_of_two_plans_count_the_layers_that_differ(database: Database) -> None:
    plan, other = planned(database, 4.25, 5.25)
    with database.read_session() as session:
        here, there = view_plan(session, plan.id), view_plan(session, other.id)
        compared, reverse, alone = tiles(session, here, there), tiles(session, there, here), tiles(session, here, here)
    differing = sum(one.format != two.format for one, two in zip(plan.choices, other.choices, strict=True))
    assert differing > 0
    assert sum(tile.changed for tile in compared) == differing == sum(tile.changed for tile in reverse)
    assert not any(tile.changed for tile in alone)


def test_caches_are_tiles_of_their_own(database: Database) -> None:
    cached_model(database, formats=("INT8", "INT4"))
    budget = {"resident_bytes": 600_000, "context": 64}
    with database.session() as session:
        plan = made(session, model="cached", budget=budget, kv_formats=["INT8", "INT4"], allow_slack=True)
        found = tiles(session, view_plan(session, plan.id))
    caches = {tile.pattern: tile for tile in found if tile.kind.endswith("_cache")}
    assert {name: next(iter(tile.formats)) for name, tile in caches.items()} == {one.layer: one.format for one in plan.kv}
    assert {tile.bits for tile in caches.values()} <= {4.0, 8.0}
    assert len(caches) == 4


def test_what_is_not_there_is_refused(database: Database) -> None:
    with database.read_session() as session, pytest.raises(NotFoundError, match="no plan 'none'"):
        view_plan(session, "none")
