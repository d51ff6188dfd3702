"""`bitplan search`: an evolutionary search from a stored plan."""

from typing import Annotated

import typer

from planner.cli.following import follow
from planner.cli.memory_lines import say_peak
from planner.cli.rendering import show_plan
from planner.cli.reporting import AsJson, say, show_json
from planner.cli.workspace import operations
from planner.schemas.searches import SearchRequest


def search(
    plan_id: Annotated[str, typer.Argument(help="Plan id.")],
    generations: Annotated[int, typer.Option(min=1, max=1000, help="Generations, at most.")] = 20,
    offspring: Annotated[int, typer.Option(min=2, max=256, help="Changed plans that a generation begins with.")] = 16,
    token_forwards: Annotated[
        int | None, typer.Option(min=1, help="Tokens that quantized models are run over, at most; all generations if unset.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Calibration set id to measure on; by default that of the plan's curves.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random in the search.")] = 0,
    label: Annotated[str | None, typer.Option(help="Only workers with this label search (`bitplan worker --labels`).")] = None,
    detach: Annotated[bool, typer.Option(help="Only queue the job; a running worker does it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for a better plan of the same question by measuring changed ones; kept only if it is better on held-out text."""
    bitplan = operations()
    request = SearchRequest(
        generations=generations,
        offspring=offspring,
        token_forwards=token_forwards,
        calibration=calibration,
        seed=seed,
        label=label,
    )
    job = bitplan.search_plan(plan_id, request)
    if not detach:
        job = follow(bitplan, job.id, quiet=as_json)
    if as_json:
        show_json(job)
        return
    say_peak(job)
    outcome = job.request.get("outcome")
    if outcome is None:
        say(f"job {job.id} is {job.state}")
        return
    change = f"held-out KL {outcome['held_out_kl_before']:.4g} → {outcome['held_out_kl']:.4g}"
    if outcome["plan"] is None:
        say(f"nothing better was found ({change}): plan {plan_id} stays")
    else:
        say(f"plan {plan_id} → {outcome['plan']}: {outcome['layers_changed']} layers change, {change}")
        show_plan(bitplan.get_plan(outcome["plan"]))
