"""Layers of a stored plan a page at a time, against its whole document."""

import pytest

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.plans import PlanDocument
from planner.services import plan_pins
from planner.services.plan_layers import LayerSearch, PlanLayer, find_layers, plan_layers
from planner.storage.database import Database
from planner.storage.tables import PlanDocumentRow
from tests import synthetic
from tests.planner.services.evaluated_plans import made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def planned(database: Database) -> PlanDocument:
    described = synthetic.mixture()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        return made(session, model="mixture", budget={"effective_bits": 4.25})


@pytest.mark.parametrize("order", ["model", "size", "loss", "bits"])
def test_pages_hold_every_layer_once_in_order(database: Database, order: str) -> None:
    plan = planned(database)
    search = LayerSearch(order=order)  # type: ignore[arg-type]
    with database.read_session() as session:
        layers = plan_layers(session, plan.id)
    items: list[PlanLayer] = []
    offset = 0
    while True:
        page = find_layers(layers, search, offset=offset, limit=4)
        items += page.items
        if page.following is None:
            break
        offset = page.following
    assert sorted(one.layer for one in items) == sorted(choice.layer for choice in plan.choices)
    keys = {"size": lambda one: -one.size_bits, "loss": lambda one: -one.loss, "bits": lambda one: -one.bits}
    if order == "model":
        assert [one.layer for one in items] == [choice.layer for choice in plan.choices]
    else:
        assert [keys[order](one) for one in items] == sorted(keys[order](one) for one in items)
    groups = {layer: group for group in plan.groups for layer in group.layers}
    for one in items:
        group = groups[one.layer]
        assert (one.loss, one.standard_error, one.fragile) == (group.predicted_loss, group.standard_error, group.fragile)
        following = None if group.next_up is None else (group.next_up.format, group.next_up.loss_change)
        assert (None if one.next_format is None else (one.next_format, one.next_change)) == following
    weights = {layer.name: layer.parameters for layer in synthetic.mixture().layers}
    assert all(one.bits == one.size_bits / weights[one.layer] for one in items)


def test_layers_are_found_by_name_kind_block_and_format(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session:
        layers = plan_layers(session, plan.id)
    searches = [
        LayerSearch(text="EXPERTS.3"),
        LayerSearch(kind="down_proj"),
        LayerSearch(block=0),
        LayerSearch(format=plan.choices[0].format),
        LayerSearch(text="proj", kind="q_proj", block=1),
        LayerSearch(text="nothing"),
    ]
    for search in searches:
        expected = [
            choice.layer
            for choice in plan.choices
            if search.text.lower() in choice.layer.lower()
            and search.kind in ("", choice.kind)
            and search.block in (None, choice.block)
            and search.format in ("", choice.format)
        ]
        page = find_layers(layers, search)
        assert [one.layer for one in page.items] == expected
        assert (page.matched, page.total, page.following) == (len(expected), len(plan.choices), None)


def test_a_text_with_a_star_is_a_pattern_of_whole_names(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session:
        layers = plan_layers(session, plan.id)
    names = [choice.layer for choice in plan.choices if ".0.mlp.experts." in choice.layer and choice.kind == "up_proj"]
    assert [one.layer for one in find_layers(layers, LayerSearch(text="*.0.MLP.experts.*.up_proj")).items] == names != []
    assert find_layers(layers, LayerSearch(text="experts.*")).items == []


def test_a_plan_is_read_once_and_a_deleted_one_is_found_no_more(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session:
        first = plan_layers(session, plan.id)
    with database.session() as session:
        session.get_one(PlanDocumentRow, plan.id).document = "{}"
    with database.read_session() as session:
        assert plan_layers(session, plan.id) is first
    with database.session() as session:
        plan_pins.delete_plan(session, plan.id, who="tester")
    with database.read_session() as session, pytest.raises(NotFoundError, match="no plan"):
        plan_layers(session, plan.id)


def test_an_order_that_there_is_not_is_refused(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session, pytest.raises(InvalidRequestError, match="use one of model, size, loss, bits"):
        find_layers(plan_layers(session, plan.id), LayerSearch(order="name"))  # type: ignore[arg-type]
