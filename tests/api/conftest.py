"""The service over each database, and a measured model in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
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


@pytest.fixture
def models_root(tmp_path: Path) -> Path:
    """The only folder that requests may name."""
    root = tmp_path / "models"
    root.mkdir()
    return root


@pytest.fixture
def client(database: Database, models_root: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of the service; an error that was not foreseen is an answer, as it is for a real client."""
    settings = Settings(data_dir=tmp_path / "data", model_roots=(models_root,))
    with TestClient(create_app(settings, database), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def measured(database: Database) -> Measured:
    """A made-up model measured with `fisher` in every format of ``synthetic.FORMATS``."""
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        calibration = synthetic.add_calibration(session)
        setting = synthetic.add_cells(session, described, synthetic.setting(calibration))
    return Measured(model, calibration, setting)
