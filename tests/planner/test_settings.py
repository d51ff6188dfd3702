"""Settings come from the environment; a wrong one names its variable."""

from pathlib import Path

import pytest

from planner.errors import InvalidRequestError
from planner.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BITPLAN_{name.upper()}", raising=False)


def test_the_default_database_is_a_file_in_the_xdg_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings.load().resolved_database_url == f"sqlite:///{tmp_path}/bitplan/bitplan.db"


def test_a_url_wins_over_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_DATABASE_URL", "postgresql://host/name")
    assert Settings.load().resolved_database_url == "postgresql://host/name"


def test_model_roots_are_joined_like_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_MODEL_ROOTS", "/models:/more models")
    assert Settings.load().model_roots == (Path("/models"), Path("/more models"))
    monkeypatch.setenv("BITPLAN_MODEL_ROOTS", "")
    assert Settings.load().model_roots is None


@pytest.mark.parametrize(("name", "value"), [("LEASE_SECONDS", "soon"), ("PORT", "70000"), ("LOG_LEVEL", "loud")])
def test_a_value_that_cannot_be_used_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BITPLAN_{name}", value)
    with pytest.raises(InvalidRequestError, match=f"BITPLAN_{name}"):
        Settings.load()


def test_the_log_level_may_be_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_LOG_LEVEL", "debug")
    assert Settings.load().log_level == "DEBUG"


def test_labels_of_a_worker_are_joined_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_WORKER_LABELS", "gpu, fast-disk,")
    monkeypatch.setenv("BITPLAN_PORT", "81")
    assert Settings.load().worker_labels == {"gpu", "fast-disk"}
    given = Settings.load(worker_labels="cpu")
    assert (given.worker_labels, given.port) == (frozenset({"cpu"}), 81)
    with pytest.raises(InvalidRequestError, match="WORKER_LABELS"):
        Settings.load(worker_labels="no label")


def test_a_secret_is_read_from_its_file_and_a_variable_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bitplan_database_url").write_text("postgresql://me:secret@host/name\n")
    (tmp_path / "of_another_program").write_text("x")
    monkeypatch.setenv("BITPLAN_SECRETS_DIR", str(tmp_path))
    settings = Settings.load()
    assert settings.resolved_database_url == "postgresql://me:secret@host/name"
    assert "secret@" not in repr(settings)
    assert Settings.load(host="localhost").resolved_database_url == "postgresql://me:secret@host/name"
    monkeypatch.setenv("BITPLAN_DATABASE_URL", "postgresql://other/name")
    assert Settings.load().resolved_database_url == "postgresql://other/name"


def test_a_folder_of_secrets_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITPLAN_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(InvalidRequestError, match="which is no folder"):
        Settings.load()
