"""Steps of adaptive measuring over stored cells: made-up exact numbers stand in for the jobs."""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.cells import Cell
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError, InvalidRequestError, NotFoundError, UnmeasuredError
from planner.measuring import setting_of
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec
from planner.services import adaptive, jobs, links, models
from planner.storage.cells import load_curves, store_cells
from planner.storage.database import Database
from sensitivity.errors import LinkError
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


def answer(database: Database, step: AdaptiveStep, *, silent: Collection[str] = ()) -> list[tuple[str, str]]:
    """Measure the cells that the step asks for: what the cheap probe says, off by a factor each; no token for some layers."""
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
                    if layer in silent:
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
        asked += answer(toy, step, silent=[silent])
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


def test_what_cannot_be_asked_is_refused_before_a_cell_is_spent(toy: Database) -> None:
    with pytest.raises(UnmeasuredError, match="no cells of 'linearity': measure some first"):
        ask(toy, probe="linearity")
    with pytest.raises(BudgetBelowFloorError):
        ask(toy, budgets=[BudgetSpec(effective_bits=4), BudgetSpec(effective_bits=1)])
    with pytest.raises(BudgetAboveCeilingError):
        ask(toy, budgets=[BudgetSpec(effective_bits=17)])
    with pytest.raises(InvalidRequestError, match="one limit of bits or bytes, not under max_loss"):
        ask(toy, budgets=[BudgetSpec(max_loss=0.1)])
    with pytest.raises(UnmeasuredError, match="INT7_G64"):
        ask(toy, formats=["INT4_G64", "INT7_G64"])
    with pytest.raises(NotFoundError):
        ask(toy, model="another")


def test_too_few_cells_for_a_link_are_said_before_one_is_spent(toy: Database) -> None:
    """Of one layer in seven formats; and of two formats of which the cheap probe finds one exact."""
    others = [layer.name for layer in DESCRIBED.layers[1:]]
    with pytest.raises(InvalidRequestError, match=r"may use 7 cells.*bitplan measure toy --probe kl") as refused:
        ask(toy, ignore=others)
    assert refused.value.fields["cells"] == 7
    with pytest.raises(InvalidRequestError, match="may use 9 cells"):
        ask(toy, ignore=[layer.name for layer in DESCRIBED.layers[9:]], formats=["INT4_G64", "BF16"], budgets=[BUDGETS[1]])


def test_one_layer_in_many_formats_is_enough(toy: Database) -> None:
    formats = (*synthetic.FORMATS[:7], "INT4_G32", "INT3_G32", "INT6_G32", "INT5_G32", "INT7_G64")
    with toy.session() as session:
        wide = synthetic.setting(synthetic.add_calibration(session, seed=2))
        synthetic.add_cells(session, DESCRIBED, wide, formats=formats)
    rules = {"ignore": [layer.name for layer in DESCRIBED.layers[1:]], "setting": wide.id, "budgets": [BUDGETS[1]]}
    step = ask(toy, **rules)
    assert step.open_cells == 12
    answer(toy, step)
    ended = ask(toy, **rules)
    assert (ended.finished, ended.exact_cells, ended.open_cells) == ("stable", 12, 0)
    assert ended.plans[0].relative_high_regret == 0


def test_a_format_that_cannot_store_some_layers_is_measured_for_the_others(toy: Database) -> None:
    """Blocks of 256 inputs divide those of down_proj alone."""
    names = ["INT2_G64", "INT3_G64", "INT4_G64", "Q4_K"]
    cells = []
    for place, layer in enumerate(DESCRIBED.layers[:-1]):
        for fmt in map(get_format, names):
            stores = fmt.refusal(layer.shape) is None
            loss = float(np.exp(np.sin(place)) * 4.0**-fmt.num_bits) if stores else None
            status = CellStatus.MEASURED if stores else CellStatus.UNSUPPORTED_SHAPE
            cells.append(Cell(layer.name, fmt.name, fmt.identity, status, loss, loss and loss / 10, 16.0, None, None))
    with toy.session() as session:
        setting = synthetic.setting(synthetic.add_calibration(session, seed=2))
        store_cells(session, MODEL, setting, cells)
    asked = {"setting": setting.id, "tolerance": 1e-9, "budgets": BUDGETS[:1]}
    step = ask(toy, **asked)
    assert step.open_cells == 21 * 3 + 3
    bought: list[tuple[str, str]] = []
    while step.next is not None:
        bought += answer(toy, step)
        step = ask(toy, **asked)
    assert any(name == "Q4_K" for _, name in bought)
    assert all(layer.endswith("down_proj") for layer, name in bought if name == "Q4_K")
    assert all(layer.endswith("down_proj") for plan in step.plans for layer, name in plan.formats.items() if name == "Q4_K")


def test_others_are_asked_for_where_most_of_the_first_sample_has_no_number(toy: Database) -> None:
    names = [layer.name for layer in DESCRIBED.layers if layer.kind != "lm_head"]
    silent = names[: len(names) - 4]
    first = ask(toy)
    bought = answer(toy, first, silent=silent)
    assert sum(layer not in silent for layer, _ in bought) < 10
    again = ask(toy)
    assert (again.link, again.finished) == (None, None)
    assert again.next is not None
    limited = ask(toy, cells=len(bought) + 3)
    assert limited.next is not None
    assert sum(map(len, (limited.next.cells or {}).values())) == 3
    with pytest.raises(LinkError, match="allow more exact cells"):
        ask(toy, cells=len(bought))
    while (step := ask(toy)).link is None:
        assert step.next is not None
        bought += answer(toy, step, silent=silent)
    assert len(bought) == len(set(bought)) == step.exact_cells
    assert step.link.pairs >= 10


def test_where_all_is_measured_and_nearly_nothing_has_a_number_it_says_so(toy: Database) -> None:
    names = [layer.name for layer in DESCRIBED.layers if layer.kind != "lm_head"]
    rules = {"formats": ["INT3_G64", "INT4_G64"], "budgets": [BudgetSpec(effective_bits=4)]}
    left = True
    while left:
        step = ask(toy, **rules)
        left = step.open_cells > len(answer(toy, step, silent=names[4:]))
    with pytest.raises(LinkError, match=r"8 of 42 exact cells.*plan with the exact ones alone \(bitplan plan toy --probe kl\)"):
        ask(toy, **rules)


def test_an_exact_probe_that_runs_on_text_is_given_one(toy: Database) -> None:
    with toy.session() as session:
        synthetic.add_cells(session, DESCRIBED, synthetic.setting(probe="weight_error"))
    with pytest.raises(InvalidRequestError, match="name a calibration set for the exact cells"):
        ask(toy, probe="weight_error")
    with toy.session() as session:
        text = synthetic.add_calibration(session, seed=3)
    assert ask(toy, probe="weight_error", calibration=text).next is not None


def test_a_client_that_repeats_itself_queues_one_job_and_a_deleted_model_is_missed(toy: Database) -> None:
    step = ask(toy)
    assert step.next is not None
    with toy.session() as session:
        first, second = (jobs.submit_sensitivity(session, step.next).id for _ in range(2))
        jobs.cancel_job(session, first)
    assert first == second
    answer(toy, step)
    with toy.session() as session:
        late = jobs.submit_sensitivity(session, step.next)  # an answer that was lost, asked for again
    assert (late.total, late.state.is_final) == (0, True)
    with toy.session() as session:
        models.delete_model(session, "toy")
    with pytest.raises(NotFoundError, match="no model"):
        ask(toy)


def test_a_method_that_looks_at_inputs_needs_one_text_for_both(toy: Database) -> None:
    with toy.session() as session:
        one, two = synthetic.add_calibration(session), synthetic.add_calibration(session, seed=1)
        synthetic.add_cells(session, DESCRIBED, replace(synthetic.setting(one), rounding="gptq"))
    with pytest.raises(InvalidRequestError, match="need the text of the cheap curves"):
        ask(toy, rounding="gptq", calibration=two)
    assert ask(toy, rounding="gptq", calibration=one).next is not None
