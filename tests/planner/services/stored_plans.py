"""Models with stored plans, for the tests of what is done with them."""

from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plans
from planner.storage.database import Database
from tests import synthetic


def measured_model(database: Database, name: str = "toy", *, seed: int = 0) -> str:
    """A measured model; its id."""
    described = synthetic.description(name=name)
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(), seed=seed)
    return model


def stored_plan(database: Database, *, model: str = "toy", **request: object) -> PlanDocument:
    """A stored plan; 4.25 bits unless the request says otherwise."""
    asked = {"model": model, "budget": {"effective_bits": 4.25}} | request
    with database.session() as session:
        return plans.create_plan(session, PlanRequest.model_validate(asked))
