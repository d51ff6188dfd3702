"""The client beside the OpenAPI document: a method for every operation, which asks for its address with its parameters."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from planner.client import Client, Retries, UnreachableError
from planner.curve_tools.movement import DEFAULT_RATIO
from planner.devices import Arithmetic
from planner.operations import AbstractOperations
from planner.schemas.adaptive import AdaptiveRequest
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.devices import CreateDevice, FigureDocument, PoolDocument, PutLatencies
from planner.schemas.drifts import SubmitDrift
from planner.schemas.families import FamilyRequest
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.imports import ImportedFile, ImportRequest
from planner.schemas.jobs import JobState, SubmitSensitivity
from planner.schemas.links import LinkRequest
from planner.schemas.models import RegisterModel
from planner.schemas.plan_batches import PlanBatch
from planner.schemas.plan_keeping import EventFilters, MoveName, PinRequest, PlanFilters
from planner.schemas.plans import BoundsRequest, BudgetSpec, EvaluateRequest, MeasureAroundRequest, PlanRequest, RefineRequest
from planner.schemas.retargeting import RetargetRequest
from planner.schemas.searches import SearchRequest
from planner.schemas.splits import SplitLink, SplitRequest, SplitSide

OPENAPI = json.loads((Path(__file__).parents[2] / "api" / "openapi.json").read_text())
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method, path, operation)
    for path, operations in OPENAPI["paths"].items()
    for method, operation in operations.items()
}
SAID_OTHERWISE = {"get_bounds": "ask_bounds"}  # the same question, with less to say
KEYS = {
    "model": "a model?",
    "reference": "r#",
    "plan": "p",
    "job": "j",
    "calibration": "c&",
    "other": "o",
    "name": "n",
    "device": "d",
}
BUDGET = BudgetSpec(effective_bits=4)
CELLS: dict[str, Any] = {"probe": "p", "setting": "5", "formats": ["A", "B"], "layers": "*"}
FIGURE = FigureDocument(value=1e9)
DEVICE = CreateDevice(name="d", pools=[PoolDocument(name="ram", bandwidth=FIGURE)], peaks={Arithmetic.BF16: FIGURE})
SIDE = SplitSide(device="d", memory_bytes=1)
SPLIT = SplitRequest(model="m", front=SIDE, back=SIDE, link=SplitLink(bytes_per_second=1.0))
Call = Callable[[Client], object]
CALLS: dict[str, Call] = {
    "ask_bounds": lambda c: c.ask_bounds(KEYS["model"], BoundsRequest(formats=["A"])),
    "cancel_job": lambda c: c.cancel_job("j"),
    "compare_settings": lambda c: c.compare_settings(KEYS["model"], "a", "b", formats=["A"], layers="*"),
    "create_calibration": lambda c: c.create_calibration(CreateCalibration()),
    "create_device": lambda c: c.create_device(DEVICE),
    "create_link": lambda c: c.create_link(KEYS["model"], LinkRequest()),
    "create_plan": lambda c: c.create_plan(PlanRequest(model="m", budget=BUDGET)),
    "create_plans": lambda c: c.create_plans(PlanBatch(requests=[PlanRequest(model="m", budget=BUDGET)])),
    "delete_device": lambda c: c.delete_device("d"),
    "delete_model": lambda c: c.delete_model(KEYS["model"]),
    "delete_plan": lambda c: c.delete_plan("p", why="old"),
    "diff_plans": lambda c: c.diff_plans("p", "o"),
    "evaluate_plan": lambda c: c.evaluate_plan("p", EvaluateRequest()),
    "explain_plan": lambda c: c.explain_plan("p", layer="*.a", limit=3),
    "export_plan": lambda c: c.export_plan("p", "json"),
    "forecast_evaluation": lambda c: c.forecast_evaluation("p", EvaluateRequest()),
    "forecast_job": lambda c: c.forecast_job(SubmitSensitivity(model="m")),
    "follow_job": lambda c: next(c.follow_job("j")),
    "get_calibration": lambda c: c.get_calibration(KEYS["calibration"]),
    "get_curves": lambda c: c.get_curves(KEYS["model"], **CELLS, expected=True),
    "get_device": lambda c: c.get_device("d"),
    "get_drift": lambda c: c.get_drift(KEYS["model"], KEYS["reference"], formats=["A"], ratio=DEFAULT_RATIO),
    "get_fits": lambda c: c.get_fits(KEYS["model"], **CELLS),
    "get_job": lambda c: c.get_job("j"),
    "get_latencies": lambda c: c.get_latencies("d"),
    "get_model": lambda c: c.get_model(KEYS["model"]),
    "get_pin": lambda c: c.get_pin("p"),
    "get_plan": lambda c: c.get_plan("p"),
    "get_plan_name": lambda c: c.get_plan_name(KEYS["model"], "n"),
    "get_sensitivity": lambda c: c.get_sensitivity(KEYS["model"], probe="p"),
    "healthz": lambda c: c.healthz(),
    "import_files": lambda c: c.import_files(KEYS["model"], ImportRequest(files=[ImportedFile(name="f", text="t")])),
    "inspect_model": lambda c: c.inspect_model(RegisterModel(source="s")),
    "list_cache_formats": lambda c: c.list_cache_formats(),
    "list_calibrations": lambda c: c.list_calibrations(cursor="c"),
    "list_devices": lambda c: c.list_devices(),
    "list_evaluations": lambda c: c.list_evaluations("p"),
    "list_formats": lambda c: c.list_formats(),
    "list_jobs": lambda c: c.list_jobs(model="m", state=JobState.QUEUED, cursor="c"),
    "list_layers": lambda c: c.list_layers(KEYS["model"]),
    "list_models": lambda c: c.list_models(cursor="c"),
    "list_plan_events": lambda c: c.list_plan_events(EventFilters(plan="p"), cursor="c"),
    "list_plan_names": lambda c: c.list_plan_names(KEYS["model"]),
    "list_plans": lambda c: c.list_plans(PlanFilters(model="m", pinned=True), cursor="c"),
    "list_probe_settings": lambda c: c.list_probe_settings(KEYS["model"]),
    "list_probes": lambda c: c.list_probes(),
    "list_runtimes": lambda c: c.list_runtimes(),
    "list_workers": lambda c: c.list_workers(),
    "make_family": lambda c: c.make_family(FamilyRequest(models=["m", "n"])),
    "make_split": lambda c: c.make_split(SPLIT),
    "make_frontier": lambda c: c.make_frontier(FrontierRequest(model="m")),
    "measure_around_plan": lambda c: c.measure_around_plan("p", MeasureAroundRequest()),
    "metrics": lambda c: c.metrics(),
    "move_plan_name": lambda c: c.move_plan_name(KEYS["model"], "n", MoveName(plan="p")),
    "next_step": lambda c: c.next_step(AdaptiveRequest(model="m", budgets=[BUDGET])),
    "pause_job": lambda c: c.pause_job("j"),
    "pin_plan": lambda c: c.pin_plan("p", PinRequest(why="w")),
    "preview_plan": lambda c: c.preview_plan(PlanRequest(model="m", budget=BUDGET), aggregate=True),
    "put_latencies": lambda c: c.put_latencies("d", PutLatencies(csv="x")),
    "readyz": lambda c: c.readyz(),
    "refine_plan": lambda c: c.refine_plan("p", RefineRequest()),
    "register_model": lambda c: c.register_model(RegisterModel(source="s")),
    "remove_plan_name": lambda c: c.remove_plan_name(KEYS["model"], "n", replaces="p", why="w"),
    "resume_job": lambda c: c.resume_job("j"),
    "retarget_plan": lambda c: c.retarget_plan("p", RetargetRequest(runtime="vllm")),
    "retry_job": lambda c: c.retry_job("j"),
    "search_plan": lambda c: c.search_plan("p", SearchRequest()),
    "submit_drift": lambda c: c.submit_drift(KEYS["model"], SubmitDrift(reference="r")),
    "submit_job": lambda c: c.submit_job(SubmitSensitivity(model="m")),
    "unpin_plan": lambda c: c.unpin_plan("p", why="w"),
}


def test_every_operation_has_its_method() -> None:
    assert OPERATIONS.keys() == CALLS.keys() | SAID_OTHERWISE.keys()
    assert all(hasattr(Client, name) for name in CALLS)
    assert not Client.__abstractmethods__


def test_commands_ask_for_operations_of_the_service() -> None:
    """Beside those of the port that only say where files come from."""
    assert AbstractOperations.__abstractmethods__ - {"add_calibration", "add_imports"} <= CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_method_asks_for_the_address_of_its_operation(name: str) -> None:
    asked: list[httpx2.Request] = []

    def nobody(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        raise httpx2.ConnectError("nobody is there")

    client = Client("http://there", retries=Retries(attempts=1, stream_attempts=1), transport=httpx2.MockTransport(nobody))
    with pytest.raises(UnreachableError):
        CALLS[name](client)
    (request,) = asked
    method, path, operation = OPERATIONS[name]
    pattern = re.sub(r"\\{(\w+)\\}", lambda found: re.escape(KEYS[found[1]]), re.escape(path))
    assert request.method == method.upper()
    assert re.fullmatch(pattern, request.url.path)
    known = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    assert set(request.url.params) <= known
    assert ("requestBody" in operation) == bool(request.read())


def test_the_client_loads_little() -> None:
    code = "import sys, planner.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "sqlalchemy", "fastapi", "scipy", "solvers", "typer"} & set(loaded)
