"""The OpenAPI document: a snapshot, and a description of everything in it."""

import json
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

SNAPSHOT = Path(__file__).with_name("openapi.json")


def test_the_document_is_the_stored_one(client: TestClient) -> None:
    """Change it on purpose: BITPLAN_UPDATE_SNAPSHOTS=1 pytest tests/api/test_openapi.py writes the new one."""
    document = client.get("/openapi.json").json()
    document["info"]["version"] = "any"
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("BITPLAN_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text()


def test_every_operation_and_every_field_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"
            assert "application/problem+json" in operation["responses"]["4XX"]["content"], f"{method} {path}"
            for parameter in operation.get("parameters", ()):
                assert parameter.get("description"), f"{method} {path}: {parameter['name']}"
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, content in schema.get("properties", {}).items():
            assert content.get("description"), f"{name}.{field}"
