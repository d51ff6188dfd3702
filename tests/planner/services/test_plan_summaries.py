"""What pages say of a stored plan beside its layers, against its whole document."""

from collections import Counter

import pytest

from planner.errors import NotFoundError
from planner.schemas.plans import PlanDocument
from planner.services import plan_pins
from planner.services.plan_summaries import plan_summary
from planner.services.plan_views import tiles, view_plan
from planner.storage.database import Database
from planner.storage.tables import ModelRow, PlanDocumentRow
from tests import synthetic
from tests.planner.services.evaluated_plans import made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def planned(database: Database) -> PlanDocument:
    described = synthetic.mixture()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        return made(session, model="mixture", budget={"effective_bits": 4.25})


def test_a_summary_is_what_the_document_says(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session:
        found = plan_summary(session, plan.id)
        drawn = tiles(session, view_plan(session, plan.id))
    assert found.facts == plan.model_copy(update={"choices": [], "groups": []})
    assert (found.layers, found.groups) == (len(plan.choices), len(plan.groups))
    assert found.fragile == sum(group.fragile for group in plan.groups)
    assert found.kinds == tuple(dict.fromkeys(choice.kind for choice in plan.choices))
    assert found.formats == Counter(choice.format for choice in plan.choices)
    assert list(found.tiles) == drawn
    assert 0 < found.bytes < 1_000_000


def test_a_plan_is_read_once_and_a_deleted_one_is_found_no_more(database: Database) -> None:
    plan = planned(database)
    with database.read_session() as session:
        first = plan_summary(session, plan.id)
    with database.session() as session:
        stored = session.get_one(PlanDocumentRow, plan.id)
        text, stored.document = stored.document, "{}"
    with database.read_session() as session:
        assert plan_summary(session, plan.id) is first
    with database.session() as session:
        session.get_one(PlanDocumentRow, plan.id).document = text
        session.get_one(ModelRow, plan.model).heads = 4  # what tiles of caches are drawn by became known
    with database.read_session() as session:
        assert plan_summary(session, plan.id) is not first
    with database.session() as session:
        plan_pins.delete_plan(session, plan.id, who="tester")
    with database.read_session() as session, pytest.raises(NotFoundError, match="no plan"):
        plan_summary(session, plan.id)
