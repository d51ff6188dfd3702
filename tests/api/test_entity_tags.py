"""Who has an answer is told so; who asks for something else, or was answered long ago, gets what is true now."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """On one database: tags are made of answers."""
    path = tmp_path / "bitplan.db"
    path.write_bytes(sqlite_template.read_bytes())
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


def test_what_never_changes_is_kept_and_asked_for_by_its_tag(client: TestClient, measured: Measured) -> None:
    plan = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()["id"]
    for path in (f"/v1/plans/{plan}", f"/v1/plans/{plan}/export?target=json"):
        answer = client.get(path)
        assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert "content-length" not in again.headers
        assert "content-type" not in again.headers
        assert "authorization" in again.headers["vary"]


def test_what_may_change_is_asked_for_every_time_and_sent_when_it_did(client: TestClient, database: Database) -> None:
    before = client.get("/v1/models")
    assert before.headers["cache-control"] == "private, no-cache"
    tag = {"if-none-match": before.headers["etag"]}
    assert client.get("/v1/models", headers=tag).status_code == 304
    with database.session() as session:
        synthetic.add_model(session)
    after = client.get("/v1/models", headers=tag)
    assert (after.status_code, len(after.json()["items"])) == (200, 1)
    assert after.headers["etag"] != before.headers["etag"]


def test_a_name_may_stand_for_something_newer_tomorrow(client: TestClient, measured: Measured, database: Database) -> None:
    before = client.get("/v1/calibrations/toy text")
    assert before.headers["cache-control"] == "private, no-cache"
    with database.session() as session:
        newer = synthetic.add_calibration(session, seed=1)
    after = client.get("/v1/calibrations/toy text", headers={"if-none-match": before.headers["etag"]})
    assert (after.status_code, after.json()["id"]) == (200, newer)
    assert before.json()["id"] == measured.calibration != newer


def test_tags_are_compared_as_rfc_9110_says(client: TestClient) -> None:
    tag = client.get("/v1/probes").headers["etag"]
    same, other = ("*", f"W/{tag}", f'"x", {tag}', f'"x",W/{tag},"y"'), ('"x"', "x", "", ",,")
    for wanted in (*same, *other):
        answer = client.get("/v1/probes", headers={"if-none-match": wanted})
        assert answer.status_code == (304 if wanted in same else 200), wanted


def test_two_representations_have_two_tags(client: TestClient, measured: Measured) -> None:
    tags = {client.get("/v1/models/toy/curves", params={"format": kind}).headers["etag"] for kind in ("json", "csv")}
    assert len(tags) == 2


def test_errors_pages_and_posts_have_none(client: TestClient, measured: Measured) -> None:
    for answer in (
        client.get("/v1/models/nobody", headers={"if-none-match": "*"}),
        client.get("/healthz"),
        client.post("/v1/models/toy/bounds", json={"formats": ["INT4_G64"]}, headers={"if-none-match": "*"}),
    ):
        assert "etag" not in answer.headers
        assert answer.status_code != 304
