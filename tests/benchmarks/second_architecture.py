"""Plans of a trained mixture of experts beside uniform formats of no more bytes.

``python -m tests.benchmarks.second_architecture [DIRECTORY]`` prints the table. Everything goes the product's way, through
services and jobs on an embedded database in the directory; interrupted, or run again there, nothing is measured twice. One menu
lacks 5 bits: where uniform INT5 beats its plan, the plan document has to say so.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from planner.demo_model import default_cache_dir
from planner.jobs.arrays import unpack
from planner.jobs.job import JobState
from planner.logs import configure_logs
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.schemas.plan_keeping import PlanFilters
from planner.schemas.plans import BudgetSpec, EvaluateRequest, Evaluation, PlanDocument, PlanRequest
from planner.services import calibrations, evaluations, jobs, models, plan_listing, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow
from planner.worker.process import make_worker
from sensitivity.evaluation import Metric
from tests.benchmarks.small_mixture import HELD_OUT, Recipe, trained_mixture, unigram_perplexity

EVERY: Final = tuple(f"INT{bits}_G64" for bits in (2, 3, 4, 5, 6, 7, 8))
MENUS: Final = {"{2…8}": EVERY, "{3,4,6,8}": ("INT3_G64", "INT4_G64", "INT6_G64", "INT8_G64")}
BUDGETS: Final = (4.25, 5.25, 6.25)
CUT: Final = {"sequences": 80, "sequence_length": 128, "held_out_sequences": 40, "held_out_length": 256}
DRAWS: Final = 4


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan beside the best single format of no more bytes; losses are held-out KL in nats per token.

    Attributes:
        menu: label of the formats that the plan chose from.
        budget: effective bits.
        plan_kl: of the plan.
        plan_error: its standard error over sequences.
        uniform: the format with the least predicted loss of all measured ones that fit, in the menu or not.
        uniform_kl: of every layer in that format.
        uniform_error: its standard error over sequences.
        difference: KL of the plan − KL of uniform.
        difference_error: standard error of the difference on the same text, over chunks of sequences: much less than that of
            either KL.
        menu_limit: what the plan document says of formats outside the menu; ``None`` where it says nothing.
    """

    menu: str
    budget: float
    plan_kl: float
    plan_error: float
    uniform: str
    uniform_kl: float
    uniform_error: float
    difference: float
    difference_error: float
    menu_limit: str | None

    def __str__(self) -> str:
        """A row of the table."""
        return (
            f"{self.menu:>10} {self.budget:5} {_with_error(self.plan_kl, self.plan_error)} "
            f"{self.uniform:>10} {_with_error(self.uniform_kl, self.uniform_error)} {self.plan_kl / self.uniform_kl:6.3f} "
            f"{_with_error(self.difference, self.difference_error)}"
        )


@final
@dataclass(frozen=True, slots=True)
class _Measured:
    """A stored plan and the assignments measured with it, by label: the evaluation, and the KL of each chunk of sequences."""

    plan: PlanDocument
    evaluations: Mapping[str, Evaluation]
    chunks: Mapping[str, NDArray[np.float64]]


def compare(directory: Path, say: Callable[[str], object] = print, *, recipe: Recipe | None = None) -> list[Comparison]:
    """Train, measure, plan and evaluate, or read back what a run before has done.

    Args:
        directory: where the checkpoint and the database are kept.
        say: is given each line of the report.
        recipe: of another checkpoint than the usual one.

    Returns:
        A comparison for each menu and budget.

    Raises:
        RuntimeError: a job failed; the message is its reason.
    """
    checkpoint = trained_mixture(directory, recipe)
    database = Database(f"sqlite:///{(directory / 'bitplan.db').absolute()}")
    database.upgrade()
    model, calibration = _register(database, checkpoint), _calibrate(database, checkpoint)
    _measure(database, model, calibration)
    say(f"{'menu':>10} {'bits':>5} {'plan':>19} {'uniform':>30} {'ratio':>6} {'plan − uniform':>19}")
    found = []
    for budget in BUDGETS:
        measured = {menu: _measured(database, model, budget, formats) for menu, formats in MENUS.items()}
        for menu, one in measured.items():
            found.append(_comparison(menu, budget, one, beside=measured["{2…8}"]))
            say(str(found[-1]))
    for comparison in found:
        if comparison.menu_limit is not None:
            say(f"{comparison.menu} at {comparison.budget} bits: {comparison.menu_limit}")
    reached = next(iter(measured["{2…8}"].evaluations.values())).reference_perplexity
    say(f"perplexity of the held-out text {reached.value:.1f}, by unigram counts {unigram_perplexity(checkpoint):.1f}")
    database.close()
    return found


def _register(database: Database, checkpoint: Path) -> str:
    description = models.inspect(str(checkpoint))
    with database.session() as session:
        return models.register(session, description)[0].id


def _calibrate(database: Database, checkpoint: Path) -> str:
    prepared = calibrations.prepare(CreateCalibration.model_validate({"source": str(checkpoint / HELD_OUT), **CUT}))
    with database.session() as session:
        return calibrations.create(session, prepared)[0].id


def _measure(database: Database, model: str, calibration: str) -> None:
    request = SubmitSensitivity(
        model=model, probe="fisher", probe_parameters={"draws": DRAWS}, formats=list(EVERY), calibration=calibration
    )
    with database.session() as session:
        job = jobs.submit_sensitivity(session, request)
    _work(database, job)


def _work(database: Database, job: Job) -> None:
    """Do what is queued in this process, also what an interrupted run has left; the job has to succeed."""
    make_worker(database, Settings.load(), poll_seconds=0.05).run(until_idle=True)
    with database.read_session() as session:
        ended = jobs.get_job(session, job.id)
    if ended.state is not JobState.SUCCEEDED:
        msg = f"job {ended.id} {ended.state}: {ended.reason}"
        raise RuntimeError(msg)


def _measured(database: Database, model: str, budget: float, formats: tuple[str, ...]) -> _Measured:
    """The plan of a menu and its evaluation; uniform is measured beside the plan that may take every format."""
    request = PlanRequest(model=model, probe="fisher", formats=list(formats), budget=BudgetSpec(effective_bits=budget))
    plan = _stored(database, request)
    with database.read_session() as session:
        found = evaluations.list_evaluations(session, plan.id).items
    if not found:
        asked = EvaluateRequest(baselines=["uniform"] if formats == EVERY else [])
        with database.session() as session:
            job = evaluations.submit_evaluation(session, plan.id, asked)
        _work(database, job)
        with database.read_session() as session:
            found = evaluations.list_evaluations(session, plan.id).items
    return _Measured(plan, {item.label: item for item in found}, _chunks(database, found[0].job))


def _stored(database: Database, request: PlanRequest) -> PlanDocument:
    """The plan that answered the same request before, or a new one."""
    with database.session() as session:
        summaries = plan_listing.list_plans(session, PlanFilters(model=request.model)).items
        known = (plans.get_plan(session, summary.id) for summary in summaries)
        return next((plan for plan in known if plan.request == request), None) or plans.create_plan(session, request)


def _chunks(database: Database, job: str) -> dict[str, NDArray[np.float64]]:
    """Mean KL of each unit of an evaluation, by label, in the order of the text's chunks."""
    with database.read_session() as session:
        labels = list(session.get_one(JobRow, job).payload["assignments"])
        query = select(UnitRow.result).where(UnitRow.job_id == job).order_by(UnitRow.key)
        statistics = np.stack([unpack(packed or b"") for packed in session.scalars(query)])[:, :, Metric.KL]
    return {label: statistics[:, i, 1] / statistics[:, i, 0] for i, label in enumerate(labels)}


def _comparison(menu: str, budget: float, measured: _Measured, *, beside: _Measured) -> Comparison:
    label = next(label for label in beside.evaluations if label != "plan")
    plan, uniform = measured.evaluations["plan"].kl, beside.evaluations[label].kl
    differences = measured.chunks["plan"] - beside.chunks[label]
    return Comparison(
        menu=menu,
        budget=budget,
        plan_kl=plan.value,
        plan_error=plan.standard_error or 0.0,
        uniform=label.removeprefix("uniform "),
        uniform_kl=uniform.value,
        uniform_error=uniform.standard_error or 0.0,
        difference=plan.value - uniform.value,
        difference_error=float(differences.std(ddof=1) / np.sqrt(len(differences))),
        menu_limit=_menu_limit(measured.plan),
    )


def _menu_limit(plan: PlanDocument) -> str | None:
    limit = plan.menu_limit
    if limit is None:
        return None
    advice = [uniform.advice for uniform in limit.uniforms] + ([limit.wider.advice] if limit.wider else [])
    return "; ".join(advice)


def _with_error(value: float, error: float) -> str:
    return f"{f'{value:.3g} ± {error:.2g}':>19}"


def main() -> None:
    """Print the table; the directory is an argument, by default one in bitplan's cache."""
    configure_logs("WARNING")
    compare(Path(sys.argv[1]) if len(sys.argv) > 1 else default_cache_dir() / "second-architecture")


if __name__ == "__main__":
    main()
