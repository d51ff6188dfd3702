"""Models with stored plans, for the tests of what is done with them."""

from dataclasses import replace

from planner.cells import Cell
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services import plans
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.formats.families import get_cell_format
from sensitivity.statistics import CellStatus
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


def cached_model(database: Database, name: str = "cached", *, formats: tuple[str, ...] = ("INT8",)) -> str:
    """A measured model whose K and V caches were measured too, in these formats; its id."""
    described = replace(synthetic.description(name=name), heads=4, kv_heads=2)
    tensors = {"k_proj": "K", "v_proj": "V"}
    cells = [
        Cell(layer.name, fmt.name, fmt.identity, CellStatus.MEASURED, 0.04 * number / (fmt.num_bits or 1), 0.001, 4.0, None, None)
        for number, layer in enumerate(described.layers, start=1)
        if layer.kind in tensors
        for fmt in (get_cell_format(f"{tensors[layer.kind]}_{one}") for one in formats)
    ]
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        store_cells(session, model, synthetic.setting(probe="kv_cache"), cells)
    return model
