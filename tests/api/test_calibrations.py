"""Calibration sets over REST."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from planner.schemas.calibrations import TEXT_LIMIT
from planner.storage.database import Database
from planner.storage.tables import CalibrationSetRow
from tests import synthetic

SMALL = {"sequences": 4, "sequence_length": 32, "held_out_sequences": 2, "held_out_length": 32}


def test_the_same_text_cut_the_same_way_is_the_same_set(client: TestClient) -> None:
    body = {"text": synthetic.TEXT, "name": "toy text"} | SMALL
    first, second = client.post("/v1/calibrations", json=body), client.post("/v1/calibrations", json=body | {"name": "again"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.headers["location"] == f"/v1/calibrations/{first.json()['id']}"
    other = client.post("/v1/calibrations", json=body | {"seed": 1})
    assert other.status_code == 201
    assert client.get(first.headers["location"]).json() == first.json()
    assert client.get("/v1/calibrations/toy text").json()["id"] == other.json()["id"]
    assert [item["id"] for item in client.get("/v1/calibrations").json()["items"]] == [other.json()["id"], first.json()["id"]]


def test_without_a_text_it_is_the_built_in_one(client: TestClient) -> None:
    answer = client.post("/v1/calibrations", json={}).json()
    assert (answer["name"], answer["source"]) == ("builtin", "builtin")
    assert answer["characters"] > 100_000


def test_a_file_below_the_roots_is_read(client: TestClient, models_root: Path) -> None:
    (models_root / "text.txt").write_text(synthetic.TEXT)
    answer = client.post("/v1/calibrations", json={"source": str(models_root / "text.txt")} | SMALL)
    assert answer.status_code == 201
    assert answer.json()["name"] == "text.txt"


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"text": "   \n "}, "calibration", "empty"),
        ({"text": ""}, "invalid-request", "text"),
        ({"text": "too short"}, "calibration", "9 bytes"),
        ({"text": "x" * (TEXT_LIMIT + 1)}, "invalid-request", "at most"),
        ({"text": "both", "source": "builtin"}, "invalid-request", "not both"),
        ({"source": "/etc/passwd"}, "invalid-request", "not below a folder"),
        ({"source": "{root}/missing.txt"}, "calibration", "no calibration file"),
        ({"source": "{root}/../secret.txt"}, "invalid-request", "not below a folder"),
        ({"source": "{root}/link.txt"}, "invalid-request", "not below a folder"),
        ({"sequence_length": 1}, "invalid-request", "sequence_length"),
        ({"seed": 2**63}, "invalid-request", "seed"),
        ({"seed": -1}, "invalid-request", "seed"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bad_input_stores_nothing(
    client: TestClient, database: Database, models_root: Path, change: dict[str, Any], kind: str, says: str
) -> None:
    secret = models_root.parent / "secret.txt"
    secret.write_text(synthetic.TEXT)
    (models_root / "link.txt").symlink_to(secret)
    if "source" in change:
        change = change | {"source": change["source"].format(root=models_root)}
    answer = client.post("/v1/calibrations", json=SMALL | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:bitplan:problem:{kind}"
    assert says in answer.json()["detail"]
    with database.read_session() as session:
        assert session.scalars(select(CalibrationSetRow.id)).all() == []
