"""Previews: the plan that would be stored, said compactly; what is said of changes and references beside brute force."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import BudgetBelowFloorError, NotFoundError, PinConflictError
from planner.runtimes import get_runtime
from planner.schemas.plan_previews import Change, PlanPreview
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plan_references, plans
from planner.services.engine_menus import engine_menus
from planner.services.plan_previews import preview_plan
from planner.services.planning_inputs import load_layers
from planner.services.preparing import prepare
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.formats.registry import get_format
from tests import synthetic
from tests.planner.services import cached_model

BUDGET = {"effective_bits": 4.25}
SERVED = {"resident_bytes": 450_000, "context": 1024}


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        with opened.session() as session:
            cached_model.add(session)
        yield opened


def _asked(request: dict[str, object]) -> PlanRequest:
    return PlanRequest.model_validate({"model": "toy", "budget": BUDGET} | request)


def _both(database: Database, **request: object) -> tuple[PlanPreview, PlanDocument]:
    with database.read_session() as session:
        return preview_plan(session, _asked(request)), plans.make_plan(session, _asked(request))


REQUESTS: list[dict[str, object]] = [
    {},
    {"runtime": "vllm", "pins": {"*.layers.0.mlp.down_proj": "INT8_G64"}, "caution": 1.0},
    {"budget": {"file_bytes": 250_000, "effective_bits": 4.4}, "counts": [{"above_bits": 5, "at_most": 3}]},
    {"budget": SERVED, "kv_formats": ["INT8", "INT4"]},
    {"budget": {"effective_bits": 60}, "allow_slack": True},
    {"budget": {"max_loss": 0.1}},
    {"budget": {"file_bytes": 300_000}, "runtime": "openvino", "formats": ["INT4_G64"], "allow_slack": True},
    {"budget": {"max_loss": 0.1}, "deadline_seconds": 1e-9, "caution": 1.0},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: "+".join(one) or "plain")
def test_a_preview_is_the_plan_that_would_be_stored(database: Database, request_: dict[str, object]) -> None:
    preview, plan = _both(database, **request_)
    assert preview.predicted == plan.predicted.model_copy(update={"cross_terms": None})
    assert preview.size == plan.size
    assert preview.limits == plan.limits
    assert preview.notes == plan.notes
    assert (preview.binding, preview.price_per_megabyte) == (plan.binding, plan.price_per_megabyte)
    assert (preview.proof.lower_bound, preview.proof.gap) == (plan.proof.lower_bound, plan.proof.gap)
    assert (preview.formats, preview.confidence) == (plan.formats, plan.confidence)
    assert preview.choices is not None
    assert [preview.formats[column] for column in preview.choices] == [choice.format for choice in plan.choices]
    assert preview.ignored == len(plan.ignored) == 1
    tiles = {(tile.block, tile.kind): tile for tile in preview.tiles}
    assert len(tiles) == len(preview.tiles) == len(plan.choices) + len(plan.kv)
    with database.read_session() as session:
        weights = {layer.name: layer.parameters for layer in load_layers(session, plan.model)}
    for choice in plan.choices:
        tile = tiles[choice.block, choice.kind]
        assert (tile.pattern, tile.layers, tile.formats) == (choice.layer, 1, {choice.format: 1})
        assert tile.bits == pytest.approx(choice.size_bits / weights[choice.layer])
    for cache in plan.kv:
        tile = tiles[cache.block, f"{cache.tensor.lower()}_cache"]
        assert (tile.pattern, tile.formats) == (cache.layer, {cache.format: 1})
        assert tile.bits == get_cell_format(cache.format).num_bits


def test_seconds_of_a_device_are_estimates_unless_they_were_measured(database: Database) -> None:
    preview, plan = _both(database, budget={"decode_seconds": 1.0, "device": "l4"}, allow_slack=True)
    assert preview.notes == [note for note in plan.notes if note in preview.notes]
    assert any("of 14 layers on l4 were measured" in note for note in preview.notes)


def test_a_reference_keeps_a_loss_with_the_caution_of_the_request(database: Database) -> None:
    free, _ = _both(database, caution=10.0)
    uniform = next(point for point in free.references if point.label == "uniform INT5_G64")
    for most_loss, fits in ((uniform.loss * 1.0001, False), (uniform.loss * 10, True)):
        preview, plan = _both(database, budget={"max_loss": most_loss}, caution=10.0)
        assert next(point for point in preview.references if point.label == uniform.label).fits is fits
        assert (plan.proof.objective or 0.0) <= most_loss


def test_the_ends_are_those_of_the_bounds(database: Database) -> None:
    preview, plan = _both(database)
    (limit,) = plan.limits
    assert (preview.smallest.effective_bits, preview.largest.effective_bits) == (2.25, 16.0)
    assert (limit.least, limit.most) == (2.25, 16.0)


def test_experts_share_a_tile_and_a_pattern_that_pins_them_all(database: Database) -> None:
    dense = synthetic.description(name="mixture")
    experts = [
        Layer(f"model.layers.{block}.mlp.experts.{expert}.{kind}", kind, block, expert, 128, 128, 0.5)
        for block in range(2)
        for expert in range(4)
        for kind in ("up_proj", "down_proj")
    ]
    shared = [layer for layer in dense.layers if layer.kind not in ("gate_proj", "lm_head")]
    described = replace(dense, layers=(*shared, *experts))
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    preview, plan = _both(database, model="mixture")
    assert len(preview.tiles) == 2 * (4 + 2 + 2)  # dense layers of the kinds of the experts have tiles of their own
    pattern = "model.layers.1.mlp.experts.*.up_proj"
    tile = next(tile for tile in preview.tiles if tile.pattern == pattern)
    given = Counter(choice.format for choice in plan.choices if ".1.mlp.experts." in choice.layer and choice.kind == "up_proj")
    assert (tile.layers, tile.formats) == (4, given)
    pinned, _ = _both(database, model="mixture", pins={pattern: "INT6_G64"})
    assert next(tile.formats for tile in pinned.tiles if tile.pattern == pattern) == {"INT6_G64": 4}


def _every_change(database: Database, request: dict[str, object], plan: PlanDocument) -> list[tuple[float, int, float, str]]:
    """Loss a bit, more bits, loss change and first layer of every other legal format of every group."""
    with database.read_session() as session:
        prepared = prepare(session, _asked(request))
    found = []
    for group, choice in enumerate(plan.groups):
        classes, loss = prepared.posed.classes, prepared.posed.curves.loss
        here = [fmt.name for fmt in classes.formats].index(choice.format)
        for there in range(len(classes.formats)):
            more = int(classes.sizes[group, there] - classes.sizes[group, here])
            change = float(loss[group, there] - loss[group, here])
            if classes.legal[group, there] and more != 0:
                found.append((change / more, more, change, choice.layers[0]))
    return found


@pytest.mark.parametrize("runtime", ["generic", "vllm"])
def test_the_best_bargains_come_first(database: Database, runtime: str) -> None:
    preview, plan = _both(database, runtime=runtime)
    every = _every_change(database, {"runtime": runtime}, plan)

    def best(changes: list[tuple[float, int, float, str]]) -> list[tuple[str, int, float]]:
        """The best of each group, the best group first."""
        first: dict[str, tuple[str, int, float]] = {}
        for _, more, change, layer in sorted(changes):
            first.setdefault(layer, (layer, more, change))
        return list(first.values())[:8]

    def said(changes: list[Change]) -> list[tuple[str, int, float]]:
        return [(change.layers[0], change.more_bits, change.loss_change) for change in changes]

    assert said(preview.upgrades) == best([one for one in every if one[1] > 0 and one[2] < 0])
    assert said(preview.downgrades) == best(
        [(-rate, more, change, layer) for rate, more, change, layer in every if more < 0 <= change]
    )
    assert all(change.count == len(change.layers) or change.count > 4 for change in preview.upgrades)


def test_the_largest_plan_has_nothing_to_gain_and_the_smallest_nothing_to_give(database: Database) -> None:
    largest, _ = _both(database, budget={"effective_bits": 60}, allow_slack=True)
    assert (largest.upgrades, largest.binding) == ([], None)
    smallest, _ = _both(database, budget={"effective_bits": 2.25})
    assert smallest.downgrades == []


def test_references_are_uniform_formats_that_all_layers_may_take(database: Database) -> None:
    preview, plan = _both(database)
    labels = [point.label for point in preview.references]
    assert sorted(labels) == sorted(f"uniform {name}" for name in synthetic.FORMATS)
    sizes = [point.size.layer_bits for point in preview.references]
    assert sizes == sorted(sizes)
    assert [point.fits for point in preview.references] == [bits <= plan.proof.budget_layer_bits for bits in sizes]
    best = min((point for point in preview.references if point.fits), key=lambda point: point.loss)
    assert (best.label, best.size) == (plan.references[0].label, plan.references[0].size)
    assert best.loss == pytest.approx(plan.references[0].loss)


def test_a_rule_that_keeps_unmeasured_formats_away_is_kept_by_references(database: Database) -> None:
    preview, plan = _both(database, ignore=[], pins={"lm_head": "BF16"}, budget={"effective_bits": 6})
    assert plan.choices[-1].layer == "lm_head"
    assert [point.label for point in preview.references] == ["uniform BF16"]


def test_caches_of_references_are_those_of_the_plan_and_losses_limit_them_too(database: Database) -> None:
    preview, plan = _both(database, budget=SERVED, kv_formats=["INT8", "INT4"])
    assert {point.size.kv_bytes for point in preview.references} == {plan.size.kv_bytes}
    inverse, _ = _both(database, budget={"max_loss": 0.1})
    assert [point.fits for point in inverse.references] == [point.loss <= 0.1 for point in inverse.references]


def test_stock_recipes_stand_beside_the_plan_where_their_formats_were_measured(database: Database) -> None:
    described = synthetic.description(blocks=8, hidden=512, name="ggml")
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(), formats=("Q4_K", "Q6_K", "Q8_0"))
    preview, _ = _both(database, model="ggml", runtime="llama.cpp", budget={"effective_bits": 5.5})
    labels = [point.label for point in preview.references]
    assert labels == ["uniform Q4_K", "Q4_K_M", "uniform Q6_K", "uniform Q8_0"]
    assert preview.predicted.loss < preview.references[1].loss < preview.references[0].loss
    elsewhere, _ = _both(database, model="ggml", budget={"effective_bits": 5.5})
    assert "Q4_K_M" not in [point.label for point in elsewhere.references]
    fewer, _ = _both(database, model="ggml", runtime="llama.cpp", budget={"effective_bits": 5}, formats=["Q4_K", "Q8_0"])
    assert [point.label for point in fewer.references] == ["uniform Q4_K", "uniform Q8_0"]


def test_references_are_not_bound_by_the_rules_of_a_request(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    free, _ = _both(database)
    rules: dict[str, object] = {"pins": {"*.k_proj": "INT8_G64"}, "floors": {"*.q_proj": 4}, "ceilings": {"*.v_proj": 6}}
    ruled, _ = _both(database, **rules)
    assert ruled.references == free.references
    monkeypatch.setattr(plan_references, "MOST_FREED", 10)
    bound, _ = _both(database, **rules)
    assert bound.references == []


def test_what_cannot_be_planned_is_refused_like_a_plan(database: Database) -> None:
    with database.read_session() as session:
        with pytest.raises(BudgetBelowFloorError, match=r"the least feasible is 2\.25 effective bits"):
            preview_plan(session, _asked({"budget": {"effective_bits": 1.5}}))
        with pytest.raises(PinConflictError):
            preview_plan(session, _asked({"runtime": "vllm", "pins": {"*.q_proj": "INT4_G64", "*.k_proj": "INT8_G64"}}))
        with pytest.raises(NotFoundError):
            preview_plan(session, _asked({"model": "nobody"}))


def test_menus_of_engines_say_what_each_refuses_for_every_layer(database: Database) -> None:
    names, caches = ("INT4_G64", "INT3_G64", "Q4_K", "FP8"), ("K_INT4", "V_FP8")
    formats = [get_format(name) for name in names]
    cached = [fmt for fmt in map(get_cell_format, caches) if isinstance(fmt, KVCacheFormat)]
    with database.read_session() as session:
        model = prepare(session, _asked({})).selected.model.id
        layers = [layer for layer in load_layers(session, model) if layer.kind != "lm_head"]
        menus = {menu.runtime: menu for menu in engine_menus(session, model, formats, cached)}
    for name, menu in menus.items():
        refused = {fmt.name for fmt in formats if all(_refusal(name, fmt, layer) for layer in layers)}
        assert menu.refused.keys() == refused
        assert all(menu.refused.values())
    assert menus["llama.cpp"].refused.keys() >= {"INT4_G64", "FP8"}
    assert menus["generic"].kv_refused == {}
    assert menus["vllm"].kv_refused.keys() == {"K_INT4"}


def _refusal(runtime: str, fmt: CandidateFormat, layer: Layer) -> str | None:
    return get_runtime(runtime).refusal(fmt, layer)
