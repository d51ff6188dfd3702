"""Which setting's curves are shown where none is named."""

from dataclasses import replace

from planner.services import curves
from planner.services.planning_inputs import find_model
from planner.storage.database import Database
from tests import synthetic


def test_a_few_exact_cells_stand_back_behind_whole_curves(database: Database) -> None:
    described = synthetic.description()
    some = replace(described, layers=described.layers[:3])
    with database.session() as session:
        synthetic.add_model(session, described)
        whole = synthetic.add_cells(session, described, synthetic.setting())
        few = synthetic.add_cells(session, some, synthetic.setting(probe="kl"))
    with database.read_session() as session:
        assert curves.find_setting(session, find_model(session, "toy")).id == whole
        assert curves.find_setting(session, find_model(session, "toy"), probe="kl").id == few
        assert curves.find_setting(session, find_model(session, "toy"), setting=few).id == few
    with database.session() as session:
        exact = synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session), probe="kl"))
    with database.read_session() as session:
        assert curves.find_setting(session, find_model(session, "toy")).id == exact
        assert curves.find_setting(session, find_model(session, "toy"), probe="kl").id == exact
