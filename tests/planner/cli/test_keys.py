"""`bitplan keys`, and that the service listens nowhere without one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.cli.app import app
from planner.cli.workspace import open_database, settings

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    for cached in (settings, open_database):
        cached.cache_clear()


def bitplan(*arguments: str, status: int = 0) -> str:
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == status, result.output
    return result.stdout


def test_a_key_is_shown_once_listed_and_revoked() -> None:
    key = bitplan("keys", "create", "alice [/ci]", "--scope", "plan", "--scope", "measure", "--days", "30").strip()
    prefix, identity, secret = key.split("_", 2)
    assert (prefix, len(identity), len(secret)) == ("bitplan", 12, 43)
    assert identity in bitplan("keys", "list")
    listed = bitplan("keys", "list", "--json")
    assert secret not in listed
    (found,) = json.loads(listed)["items"]
    assert (found["name"], found["scopes"], found["revoked_at"]) == ("alice [/ci]", ["plan", "measure"], None)
    assert "revoked: bitplan_" in bitplan("keys", "revoke", identity)
    assert json.loads(bitplan("keys", "list", "--json"))["items"][0]["revoked_at"] is not None


def test_a_key_that_would_never_be_valid_is_not_made() -> None:
    for days in ("0", "-1", "nan", "1e300"):
        bitplan("keys", "create", "alice", "--scope", "read", f"--days={days}", status=2)
    assert json.loads(bitplan("keys", "list", "--json"))["items"] == []


def test_a_service_that_others_could_reach_does_not_start_without_a_key() -> None:
    result = RUNNER.invoke(app, ["serve", "--no-worker", "--host", "0.0.0.0"])  # noqa: S104
    assert result.exit_code == 2
    assert "bitplan keys create" in result.stderr
