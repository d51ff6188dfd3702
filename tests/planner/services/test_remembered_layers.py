"""Layers of a model are read once; that there is no such model is not remembered."""

import pytest

from planner.errors import NotFoundError
from planner.services.planning_inputs import load_layers
from planner.storage.database import Database
from tests import synthetic


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_layers_are_read_once_they_are_there(database: Database) -> None:
    described = synthetic.description()
    with database.read_session() as session, pytest.raises(NotFoundError, match="register it again"):
        load_layers(session, described.fingerprint)
    with database.session() as session:
        synthetic.add_model(session, described)
    with database.read_session() as session:
        first = load_layers(session, described.fingerprint)
        assert first == described.layers
        assert load_layers(session, described.fingerprint) is first
