"""OpenTelemetry: spans of a request, its solve and its statements; a process that nobody configured has no SDK to send any."""

import json
import subprocess
import sys
from typing import Any

import pytest

# A process of its own: a tracer provider is set once for all that follows.
_CHILD = """
import json, sys
from pathlib import Path

from api.app import create_app
from planner.settings import Settings
from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import local_client

folder = Path(sys.argv[1])
with local_client(create_app(Settings(data_dir=folder / "unconfigured"))) as client:
    client.get("/healthz")
assert not any(name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")) for name in sys.modules), "nobody asked for it"

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

database = Database(f"sqlite:///{folder / 'traced.db'}")
database.upgrade()
described = synthetic.description()
with database.session() as session:
    model = synthetic.add_model(session, described)
    synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with local_client(create_app(Settings(data_dir=folder), database)) as client:
    client.get("/readyz")
    client.get("/metrics")
    plan = {"model": model, "budget": {"effective_bits": 4.25}, "runtime": "generic"}
    client.post("/v1/plans", json=plan, headers={"authorization": "Bearer c4nary"})
    caller = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert client.post("/v1/plans", json=plan, headers=caller).status_code == 201
database.close()
for span in exporter.get_finished_spans():
    parent = span.parent and format(span.parent.span_id, "016x")
    attributes = {name: str(value) for name, value in span.attributes.items()}
    events = [event.name for event in span.events]
    context = {"trace": format(span.context.trace_id, "032x"), "id": format(span.context.span_id, "016x"), "parent": parent}
    print(json.dumps(context | {"name": span.name, "attributes": attributes, "events": events}))
"""


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Spans of two plans and of what nobody traces."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", _CHILD, str(tmp_path_factory.mktemp("traced"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def test_a_plan_is_a_request_with_its_solve_and_its_statements(spans: list[dict[str, Any]]) -> None:
    request = [span for span in spans if span["name"] == "POST /v1/plans"][-1]
    assert request["attributes"]["http.response.status_code"] == "201"
    inside = [span for span in spans if span["trace"] == request["trace"]]
    solve = next(span for span in inside if span["name"] == "solve")
    assert solve["attributes"]["bitplan.solver"] == "mckp"
    statements = [span for span in inside if "db.query.text" in span["attributes"]]
    assert {span["name"] for span in statements} == {"SELECT", "INSERT"}
    assert {span["attributes"]["db.system.name"] for span in statements} == {"sqlite"}
    ids = {span["id"] for span in inside}
    assert all(span["parent"] in ids for span in inside if span is not request)


def test_the_callers_trace_goes_on(spans: list[dict[str, Any]]) -> None:
    request = [span for span in spans if span["name"] == "POST /v1/plans"][-1]
    assert (request["trace"], request["parent"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_spans_carry_no_secret_and_no_value(spans: list[dict[str, Any]]) -> None:
    text = json.dumps(spans)
    assert "c4nary" not in text
    assert "traced.db" not in text
    assert not {"GET /readyz", "GET /metrics"} & {span["name"] for span in spans}
