"""The service fuzzed against its own OpenAPI document, with a key that may do everything: short, deterministic, on SQLite."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from planner.schemas.keys import AccessScope
from planner.services.keys import create_key
from planner.settings import Settings
from planner.storage.database import Database
from tests import synthetic
from tests.api.test_openapi import SNAPSHOT

_DOCUMENT = json.loads(SNAPSHOT.read_text())
_DOCUMENTED = {
    (method.upper(), path): operation
    for path, operations in _DOCUMENT["paths"].items()
    if not path.endswith("/events")  # a stream, which has a test of its own
    for method, operation in operations.items()
}


def _fields_of_body(operation: dict[str, Any]) -> dict[str, Any]:
    """Properties of the JSON that an operation takes."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    found: dict[str, Any] = _DOCUMENT["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
    return found.get("properties", {})  # type: ignore[no-any-return]


OPERATIONS = list(_DOCUMENTED)
_MODES = [(operation, GenerationMode.POSITIVE) for operation in OPERATIONS] + [
    (operation, GenerationMode.NEGATIVE)
    for operation, document in _DOCUMENTED.items()
    if "parameters" in document or "requestBody" in document  # nothing else can be wrong
]
_OF_A_MODEL = [
    (method, path)
    for method, path in OPERATIONS
    if method != "DELETE" and ("{model}" in path or "model" in _fields_of_body(_DOCUMENTED[method, path]))
]
"""Every other operation would be asked the same as without a model."""
_CONTRACT = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_SHORT = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Service:
    """The document of a service, and who may ask it."""

    schema: schemathesis.BaseSchema
    headers: dict[str, str]

    def strategy(self, operation: tuple[str, str], mode: GenerationMode) -> st.SearchStrategy[Case[Any]]:
        method, path = operation
        return self.schema[path][method].as_strategy(generation_mode=mode)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service over a database with one measured model, asked from elsewhere; streams are left to their own test."""
    folder = tmp_path_factory.mktemp("fuzzing")
    database = Database(f"sqlite:///{folder / 'bitplan.db'}")
    database.upgrade()
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        key = create_key(session, "fuzzing", [AccessScope.ADMIN]).key
    app = create_app(Settings(data_dir=folder, model_roots=(folder,), requests_per_second=0), database)
    yield Service(schemathesis.openapi.from_asgi("/openapi.json", app), {"authorization": f"Bearer {key}"})
    database.close()


@pytest.mark.parametrize(("operation", "mode"), _MODES)
def test_whatever_comes_is_answered_as_documented(service: Service, operation: tuple[str, str], mode: GenerationMode) -> None:
    @_SHORT
    @given(case=service.strategy(operation, mode))
    def check(case: Case[Any]) -> None:
        case.call_and_validate(headers=service.headers, checks=[*_CONTRACT, negative_data_rejection])

    check()


@pytest.mark.parametrize("operation", _OF_A_MODEL)
def test_a_model_that_exists_is_answered_as_documented(service: Service, operation: tuple[str, str]) -> None:
    @_SHORT
    @given(case=service.strategy(operation, GenerationMode.POSITIVE))
    def check(case: Case[Any]) -> None:
        if "model" in case.path_parameters:
            case.path_parameters["model"] = "toy"
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "toy"
        case.call_and_validate(headers=service.headers, checks=_CONTRACT)

    check()
