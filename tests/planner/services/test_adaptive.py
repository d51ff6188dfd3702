"""Steps of adaptive measuring over stored cells: made-up exact numbers stand in for the jobs."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.cells import Cell
from planner.errors import BudgetBelowFloorError, InvalidRequestError, UnmeasuredError
from planner.measuring import setting_of
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec
from planner.services import adaptive, jobs, links
from planner.storage.cells import load_curves, store_cells
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic

DESCRIBED = synthetic.description(blocks=3)
MODEL = DESCRIBED.fingerprint
FORMATS = synthetic.FORMATS[:6]
BUDGETS = [BudgetSpec(effective_bits=3.4), BudgetSpec(effective_bits=4.4)]


@pytest.fixture
def toy(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A database with a model whose cheap curves are measured on a stored text."""
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    with opened.session() as session:
        synthetic.add_model(session, DESCRIBED)
        synthetic.add_cells(session, DESCRIBED, synthetic.setting(synthetic.add_calibration(session)))
    yield opened
    opened.close()


def question(**options: object) -> AdaptiveRequest:
    return AdaptiveRequest.model_validate({"model": "toy", "budgets": BUDGETS} | options)


def ask(database: Database, **options: object) -> AdaptiveStep:
    with database.read_session() as session:
        return adaptive.next_step(session, question(**options))


def answer(database: Database, step: AdaptiveStep, *, silent: str = "") -> list[tuple[str, str]]:
    """Measure the cells that the step asks for: what the cheap probe says, off by a factor each; no token for ``silent``."""
    assert step.next is not None
    with database.session() as session:
        asked = jobs.submit_sensitivity(session, step.next).request
        names = [get_format(name) for name in asked["formats"]]
        cheap = load_curves(session, MODEL, step.source, names, asked["layers"])
        jobs.cancel_job(session, jobs.list_jobs(session, limit=1).items[0].id)
        cells = []
        for i, layer in enumerate(asked["layers"]):
            for k, fmt in enumerate(names):
                if fmt.name in asked.get("cells", {layer: asked["formats"]})[layer]:
                    factor = np.exp(np.random.default_rng([i, len(layer), fmt.num_bits]).normal(0, 0.3))
                    loss = float(cheap.loss[i, k] * factor)
                    of = layer, fmt.name, fmt.identity
                    if layer == silent:
                        cells.append(Cell(*of, CellStatus.NO_TOKENS, None, None, 0.0, None, None))
                    else:
                        cells.append(Cell(*of, CellStatus.MEASURED, loss, 0.02 * loss, 4.0, None, None))
        assert setting_of(asked).id == step.target
        store_cells(session, MODEL, setting_of(asked), cells)
    return [(cell.layer, cell.format) for cell in cells]


def test_a_layer_that_no_token_reached_is_asked_for_once(toy: Database) -> None:
    silent = next(layer.name for layer in DESCRIBED.layers if layer.kind == "down_proj")
    asked: list[tuple[str, str]] = []
    while not (step := ask(toy, tolerance=1e-9, batch=40)).finished:
        asked += answer(toy, step, silent=silent)
    assert any(layer == silent for layer, _ in asked)
    assert len(asked) == len(set(asked))


def test_a_run_samples_links_and_spends_cells_until_its_plans_are_stable(toy: Database) -> None:
    step = ask(toy, tolerance=0.005)
    assert (step.exact_cells, step.open_cells, step.plans, step.link, step.finished) == (0, 21 * 7, [], None, None)
    measured: list[tuple[str, str]] = []
    losses: list[list[float]] = []
    while step.next is not None:
        if len(losses) < 2:
            assert ask(toy, tolerance=0.005) == step  # whoever asks again, after a crash too, is told the same
        measured += answer(toy, step)
        step = ask(toy, tolerance=0.005)
        assert step.exact_cells == len(measured) == len(set(measured))
        losses.append([plan.relative_high_regret for plan in step.plans])
    assert step.finished == "stable"
    assert max(losses[-1]) <= 0.005 < max(losses[0])
    assert 20 < len(measured) < 21 * 7
    document = links.create_link(toy, "toy", adaptive.link_request(question(), step))
    assert document.exact_cells == len(measured)
    assert [plan.effective_bits <= 4.4 for plan in step.plans] == [True, True]
    assert set(step.plans[0].formats) == {layer.name for layer in DESCRIBED.layers} - {"lm_head"}


def test_the_cells_that_were_bought_are_counted_with_those_of_before(toy: Database) -> None:
    answer(toy, ask(toy, cells=25))
    step = ask(toy, cells=25, tolerance=1e-6)
    assert step.next is not None
    assert len(answer(toy, step)) == 5
    spent = ask(toy, cells=25, tolerance=1e-6)
    assert (spent.exact_cells, spent.finished, spent.next) == (25, "spent", None)


def test_a_sample_that_was_bought_before_serves_for_the_first_link(toy: Database) -> None:
    with toy.session() as session:
        calibration = synthetic.add_calibration(session)
        wanted = SubmitSensitivity(model="toy", probe="kl", formats=list(FORMATS), calibration=calibration, sample=30, seed=9)
    answer(toy, ask(toy).model_copy(update={"next": wanted}))
    step = ask(toy)
    assert step.exact_cells == 30
    assert step.link is not None
    assert step.link.pairs == 30


def test_it_plans_with_the_rules_of_the_question_and_measures_no_cell_beyond_them(toy: Database) -> None:
    rules = {"runtime": "vllm", "formats": ["INT4_G64", "INT8_G64"], "pins": {"*.o_proj": "INT8_G64"}}
    budgets = [BudgetSpec(effective_bits=5.5)]
    step = ask(toy, **rules, budgets=budgets)
    while step.next is not None:
        answer(toy, step)
        cells = step.next.cells or {}
        assert {name for names in cells.values() for name in names} <= {"INT4_G64", "INT8_G64"}
        assert all(names == ["INT8_G64"] for layer, names in cells.items() if layer.endswith("o_proj"))
        step = ask(toy, **rules, budgets=budgets)
    formats = step.plans[0].formats
    assert all(name == "INT8_G64" for layer, name in formats.items() if layer.endswith("o_proj"))
    assert len({formats[f"model.layers.0.self_attn.{kind}_proj"] for kind in "qkv"}) == 1


def test_what_cannot_be_asked_is_refused(toy: Database) -> None:
    with pytest.raises(UnmeasuredError, match="no cells of 'linearity': measure some first"):
        ask(toy, probe="linearity")
    answer(toy, ask(toy))
    with pytest.raises(BudgetBelowFloorError):
        ask(toy, budgets=[BudgetSpec(effective_bits=1)])


def test_a_method_that_looks_at_inputs_needs_one_text_for_both(toy: Database) -> None:
    with toy.session() as session:
        one, two = synthetic.add_calibration(session), synthetic.add_calibration(session, seed=1)
        synthetic.add_cells(session, DESCRIBED, replace(synthetic.setting(one), rounding="gptq"))
    with pytest.raises(InvalidRequestError, match="need the text of the cheap curves"):
        ask(toy, rounding="gptq", calibration=two)
    assert ask(toy, rounding="gptq", calibration=one).next is not None
