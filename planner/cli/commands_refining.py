"""`bitplan refine`: measure around a plan, and take short steps from it that are surely better."""

from typing import Annotated

import typer

from planner.cli.following import follow
from planner.cli.rendering import show_plan
from planner.cli.reporting import AsJson, say, show_json
from planner.cli.workspace import operations
from planner.operations import AbstractOperations
from planner.schemas.plans import STEP_ERRORS, MeasureAroundRequest, PlanDocument, RefineRequest


def refine(
    plan_id: Annotated[str, typer.Argument(help="Plan id.")],
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Steps, each measured anew from where the last one ended.")] = 1,
    step_errors: Annotated[
        float, typer.Option(min=0, max=100, help="Standard errors that a change has to be better by.")
    ] = STEP_ERRORS,
    calibration: Annotated[
        str | None, typer.Option(help="Calibration set id to measure on; by default that of the plan's curves.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, max=64, help="Label draws for each sequence.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a better plan of the same question from a stored one, by measuring what single changes of it would change.

    Curves know layers one at a time; around a plan it is known what they do together. Interrupted, it goes on where it was.
    """
    bitplan = operations()
    around = MeasureAroundRequest(calibration=calibration, draws=draws, seed=seed)
    made: list[PlanDocument] = []
    with bitplan.working():
        for _ in range(rounds):
            found = _step(bitplan, plan_id, around, RefineRequest(step_errors=step_errors), quiet=as_json)
            if found is None:
                break
            made.append(found)
            plan_id = found.id
    if as_json:
        show_json([document.model_dump(mode="json") for document in made])
    elif made:
        show_plan(made[-1])


def _step(
    bitplan: AbstractOperations, plan_id: str, around: MeasureAroundRequest, request: RefineRequest, *, quiet: bool
) -> PlanDocument | None:
    """The next plan, stored; ``None`` if no change is surely better."""
    job = bitplan.measure_around_plan(plan_id, around)
    follow(bitplan, job.id, quiet=quiet)
    found = bitplan.refine_plan(plan_id, request)
    step = found.predicted.step
    if step is None or found.id == plan_id:
        if not quiet:
            say(f"no change of plan {plan_id} is surely better: it stays")
        return None
    if not quiet:
        say(
            f"plan {plan_id} → {found.id}: {step.layers} layers change, "
            f"{step.from_loss:.4g} → {step.from_loss + step.change:.4g} {found.predicted.unit} on the measured text"
        )
    return found
