"""Links as a service: what is stored, what plans make of it, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from planner.cells import Cell, ProbeSetting
from planner.curves import Curves
from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.schemas.links import LinkDocument, LinkRequest
from planner.schemas.plans import BudgetSpec, PlanDocument, PlanRequest
from planner.services import curves, links, models, plans
from planner.services.linked_curves import LinkedCurves, link_curves
from planner.storage.cells import load_curves, store_cells
from planner.storage.database import Database
from planner.storage.tables import ProbeSettingRow
from sensitivity.errors import LinkError
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic

FORMATS = synthetic.FORMATS[:6]
LAYERS = [layer.name for layer in synthetic.description().layers if layer.kind != "lm_head"]
CHEAP = synthetic.setting()
EXACT = replace(CHEAP, probe="kl", parameters={})


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    yield opened
    opened.close()


def cell(layer: str, name: str, loss: float | None, status: CellStatus = CellStatus.MEASURED) -> Cell:
    error = None if loss is None else 0.03 * loss
    return Cell(layer, name, get_format(name).identity, status, loss, error, 4.0, None, None)


def measure(database: Database, *, cheap: ProbeSetting = CHEAP, exact: ProbeSetting = EXACT, sample: int = 30) -> str:
    """A toy model with cheap curves, and exact cells of three times their loss, more or less; its id."""
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, cheap, formats=FORMATS)
        known = load_curves(session, model, cheap.id, [get_format(name) for name in FORMATS], LAYERS)
        random = np.random.default_rng(0)
        chosen = random.choice(known.loss.size, sample, replace=False)
        places = [np.unravel_index(place, known.loss.shape) for place in chosen]
        losses = [3 * float(known.loss[i, k]) * float(np.exp(random.normal(0, 0.05))) for i, k in places]
        found = [cell(LAYERS[i], FORMATS[k], loss) for (i, k), loss in zip(places, losses, strict=True)]
        store_cells(session, model, exact, found)
    return model


def link(database: Database, model: str, **options: object) -> LinkDocument:
    return links.create_link(database, model, LinkRequest.model_validate(options))


def plan(database: Database, model: str) -> PlanDocument:
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest(model=model, budget=BudgetSpec(effective_bits=4.25)))


def test_linked_curves_are_exact_cells_and_foretold_ones_and_plans_prefer_them(sqlite: Database) -> None:
    model = measure(sqlite)
    assert plan(sqlite, model).provenance.probe == "fisher"
    document = link(sqlite, model)
    assert (document.probe, document.exact_cells, document.linked_cells) == ("calibrated_fisher", 30, 14 * 6 - 30)
    assert document.link.family == "scale"
    assert document.link.held_out.r2 > 0.98
    assert document.link.identity is not None
    assert document.link.identity.r2 < document.link.held_out.r2
    assert document.link.spearman is not None
    assert document.link.spearman > 0.98
    assert document.notes == []
    with sqlite.read_session() as session:
        formats = [get_format(name) for name in FORMATS]
        found, exact, cheap = (
            load_curves(session, model, setting, formats, LAYERS) for setting in (document.setting, EXACT.id, CHEAP.id)
        )
    known = exact.status != ""
    np.testing.assert_array_equal(found.loss[known], exact.loss[known])
    np.testing.assert_array_equal(found.standard_error[known], exact.standard_error[known])
    np.testing.assert_allclose(found.loss[~known] / cheap.loss[~known], 3, rtol=0.35)
    assert (found.standard_error[~known] > 0.05 * found.loss[~known]).all()
    made = plan(sqlite, model)
    assert (made.provenance.probe, made.provenance.setting) == ("calibrated_fisher", document.setting)
    assert made.predicted.unit == "nats/token"


def test_the_setting_says_where_it_comes_from_and_is_never_another_s(sqlite: Database) -> None:
    model = measure(sqlite)
    first, again = link(sqlite, model), link(sqlite, model)
    assert first == again
    with sqlite.session() as session:
        store_cells(session, model, EXACT, [cell(LAYERS[0], name, 1e-3) for name in FORMATS])
    more = link(sqlite, model)
    assert more.setting != first.setting
    with sqlite.read_session() as session:
        row = session.get_one(ProbeSettingRow, first.setting)
        listed = [item.probe for item in curves.list_settings(session, model).items]
    assert sorted(listed) == ["calibrated_fisher", "calibrated_fisher", "fisher", "kl"]
    assert (row.in_nats, row.additive, row.code_version) == (True, True, links.LINK_VERSION)
    parameters = row.parameters
    assert (parameters["source"], parameters["target"], parameters["target_probe"]) == (CHEAP.id, EXACT.id, "kl")
    assert (parameters["pairs"], parameters["exact_cells"], parameters["family"]) == (30, 30, "scale")
    assert parameters["held_out_r2"] == first.link.held_out.r2
    assert json.loads(parameters["knots"]) == [list(knot) for knot in first.link.knots]


def test_a_link_that_is_no_better_than_the_losses_as_they_are_says_so(sqlite: Database) -> None:
    model = measure(sqlite)
    with sqlite.session() as session:
        cheap = load_curves(session, model, CHEAP.id, [get_format(name) for name in FORMATS], LAYERS)
        random = np.random.default_rng(1)
        same = replace(EXACT, parameters={"arithmetic": "float32"})
        cells = [
            cell(LAYERS[i], FORMATS[k], float(cheap.loss[i, k] * np.exp(random.normal(0, 0.1))))
            for i, k in np.ndindex(10, len(FORMATS))
        ]
        store_cells(session, model, same, cells)
    document = link(sqlite, model, target_setting=same.id)
    assert document.link.family == "identity"
    assert "no link foretells held-out cells better than fisher as it is" in document.notes[0]


def test_a_relative_error_is_linked_to_nats(sqlite: Database) -> None:
    cheap = ProbeSetting("output_error", 1, "rtn", 1, None, {"made_up": "yes"}, in_nats=False, additive=False)
    model = measure(sqlite, cheap=cheap)
    document = link(sqlite, model, source="output_error")
    assert document.link.identity is None
    with sqlite.read_session() as session:
        row = session.get_one(ProbeSettingRow, document.setting)
    assert (row.probe, row.in_nats, row.additive) == ("calibrated_output_error", True, True)


def test_cells_without_a_number_stay_without_one(sqlite: Database) -> None:
    model = measure(sqlite)
    silent, broken = "INT4_G64", "INT2_G64"
    with sqlite.session() as session:
        none = [cell(LAYERS[0], silent, None, CellStatus.NO_TOKENS), cell(LAYERS[1], silent, None, CellStatus.NO_TOKENS)]
        store_cells(session, model, CHEAP, none)
        store_cells(session, model, EXACT, [cell(LAYERS[1], silent, 0.5), cell(LAYERS[2], broken, None, CellStatus.NON_FINITE)])
        before = load_curves(session, model, EXACT.id, [get_format(silent)], LAYERS)
    document = link(sqlite, model)
    with sqlite.read_session() as session:
        found = load_curves(session, model, document.setting, [get_format(silent), get_format(broken)], LAYERS)
    assert found.status[0, 0] == (before.status[0, 0] or CellStatus.NO_TOKENS)
    assert found.loss[1, 0] == 0.5
    assert found.status[2, 1] == CellStatus.NON_FINITE


def test_what_cannot_be_linked_is_refused_with_advice(sqlite: Database) -> None:
    model = measure(sqlite, exact=replace(EXACT, rounding="rtn_clip"))
    with pytest.raises(UnmeasuredError, match="bitplan measure toy --probe kl --sample 40"):
        link(sqlite, model)
    with pytest.raises(UnmeasuredError, match="no cells of 'linearity': measure some first"):
        link(sqlite, model, source="linearity")
    with pytest.raises(InvalidRequestError, match="is linked already"):
        link(sqlite, model, source="calibrated_fisher")
    with pytest.raises(InvalidRequestError, match="source and target are both 'kl'"):
        link(sqlite, model, source="kl")
    with pytest.raises(InvalidRequestError, match="no losses of weights"):
        link(sqlite, model, source="kv_cache")
    with pytest.raises(NotFoundError, match="no cells of 'fisher' in setting 'feed'"):
        link(sqlite, model, source_setting="feed")


def test_too_few_exact_cells_store_nothing(sqlite: Database) -> None:
    model = measure(sqlite, sample=5)
    with pytest.raises(LinkError, match="5 cells have two losses above zero"):
        link(sqlite, model)
    with sqlite.read_session() as session:
        assert set(session.scalars(select(ProbeSettingRow.probe))) == {"fisher", "kl"}


def test_exact_cells_on_another_text_are_used_and_named(sqlite: Database) -> None:
    with sqlite.session() as session:
        other = synthetic.add_calibration(session)
    model = measure(sqlite, exact=replace(EXACT, calibration_id=other), cheap=CHEAP)
    assert link(sqlite, model).notes == []  # the cheap cells name no text at all
    with sqlite.session() as session:
        first = synthetic.add_calibration(session, seed=1)
        synthetic.add_cells(session, synthetic.description(), synthetic.setting(first), formats=FORMATS)
    document = link(sqlite, model, source_setting=synthetic.setting(first).id)
    assert "different texts" in document.notes[0]


def test_curves_of_a_method_that_looks_at_inputs_are_linked_on_their_own_text_alone(sqlite: Database) -> None:
    with sqlite.session() as session:
        one, two = synthetic.add_calibration(session), synthetic.add_calibration(session, seed=1)
    cheap = replace(CHEAP, rounding="gptq", calibration_id=one)
    model = measure(sqlite, cheap=cheap, exact=replace(EXACT, rounding="gptq", calibration_id=two))
    with pytest.raises(UnmeasuredError, match="on the source's text if the method looks at inputs"):
        link(sqlite, model)


def test_cheap_cells_that_few_samples_dominate_are_told_apart_and_named(sqlite: Database) -> None:
    """Two layers of which the cheap probe sees twice the losses, with an error of a half."""
    model = measure(sqlite, sample=60)
    with sqlite.session() as session:
        formats = [get_format(name) for name in FORMATS]
        known = load_curves(session, model, CHEAP.id, formats, LAYERS)
        again = [
            Cell(layer, fmt.name, fmt.identity, CellStatus.MEASURED, loss, (0.6 if i < 3 else 0.05) * loss, 4.0, None, None)
            for i, layer in enumerate(LAYERS)
            for k, fmt in enumerate(formats)
            for loss in [float(known.loss[i, k]) * (2.0 if i < 3 else 1.0)]
        ]
        store_cells(session, model, CHEAP, again)
    found = link(sqlite, model, shrinkage=False)
    assert found.link.pairs < found.exact_cells == 60
    assert "left out of the fit" in found.notes[-1]
    with sqlite.read_session() as session:
        parameters = session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id == found.setting)).one().parameters
        linked = load_curves(session, model, found.setting, formats, LAYERS)
        exact = load_curves(session, model, EXACT.id, formats, LAYERS)
    assert float(parameters["unsteady_offset"]) < -0.3
    foretold = linked.loss[:3][exact.status[:3] == ""] / (3 * known.loss[:3][exact.status[:3] == ""])
    assert np.median(np.abs(np.log(foretold))) < 0.3


def test_a_model_that_is_deleted_while_its_link_is_computed_is_missed(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed while others wait to write, so others may write meanwhile."""
    model = measure(sqlite)

    def meanwhile(cheap: Curves, exact: Curves, *, same_unit: bool, seed: int) -> LinkedCurves:
        found = link_curves(cheap, exact, same_unit=same_unit, seed=seed)
        with sqlite.session() as session:
            models.delete_model(session, model)
        return found

    monkeypatch.setattr(links, "link_curves", meanwhile)
    with pytest.raises(NotFoundError, match="no model"):
        link(sqlite, model)
