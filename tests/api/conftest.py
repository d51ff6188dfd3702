"""The service over each database, and a measured model in it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from planner.settings import Settings
from planner.storage.database import Database
from tests import synthetic


@dataclass(frozen=True, slots=True)
class Measured:
    """Ids of a model with curves."""

    model: str
    calibration: str
    setting: str


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def local_client(app: FastAPI) -> TestClient:
    """A client on the service's own machine, which needs no key until one exists.

    An error that was not foreseen is an answer, as it is for a real client.
    """
    return TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50_000), raise_server_exceptions=False)


@pytest.fixture
def models_root(tmp_path: Path) -> Path:
    """The only folder that requests may name."""
    root = tmp_path / "models"
    root.mkdir()
    return root


@pytest.fixture
def client(database: Database, models_root: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of the service, on its own machine."""
    settings = Settings(data_dir=tmp_path / "data", model_roots=(models_root,))
    with local_client(create_app(settings, database)) as opened:
        yield opened


@pytest.fixture
def plain(sqlite_template: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service over an empty SQLite database."""
    shutil.copyfile(sqlite_template, tmp_path / "plain.db")
    database = Database(f"sqlite:///{tmp_path / 'plain.db'}")
    with local_client(create_app(Settings(data_dir=tmp_path), database)) as opened:
        yield opened
    database.close()


@pytest.fixture
def measured(database: Database) -> Measured:
    """A made-up model measured with `fisher` in every format of ``synthetic.FORMATS``."""
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        calibration = synthetic.add_calibration(session)
        setting = synthetic.add_cells(session, described, synthetic.setting(calibration))
    return Measured(model, calibration, setting)
