"""`bitplan db`: what it prints, its JSON, its exit codes, and that it opens nothing that it should not."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.cli.app import app
from planner.storage.database import Database
from tests.planner.storage.rows import add_model

RUNNER = CliRunner()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BITPLAN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BITPLAN_DATABASE_URL", raising=False)
    return tmp_path / "bitplan.db"


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, ["db", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_upgrade_check_backup_and_check_of_the_copy(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no database" in run("check", code=2)
    assert "up to date" in run("upgrade")
    add_model(Database(f"sqlite:///{file}"), layers=7)
    assert "sound" in run("check")
    written = json.loads(run("backup", str(tmp_path / "copy.db"), "--json"))
    assert written == {"file": str(tmp_path / "copy.db"), "bytes": (tmp_path / "copy.db").stat().st_size}
    monkeypatch.setenv("BITPLAN_DATABASE_URL", f"sqlite:///{tmp_path / 'copy.db'}")
    found = json.loads(run("check", "--json"))
    assert found["faults"] == []
    assert found["rows"]["layers"] == 7


def test_a_fault_is_named_and_the_exit_code_says_so(file: Path) -> None:
    run("upgrade")
    add_model(Database(f"sqlite:///{file}"))
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM models")
    connection.close()
    text = run("check", code=2)
    assert "damaged" in text
    assert "a row of layers refers to a row of models that is gone" in text


def test_a_check_and_a_backup_do_not_upgrade(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"")
    assert "no tables yet" in run("check", code=2)
    run("backup", str(tmp_path / "copy.db"))
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
