"""`bitplan measure --adaptive`: a loop over ordinary jobs, each for the cells that the plans hang on by then."""

import math
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from planner.budget import BudgetKind
from planner.cli.commands_linking import shape_of, show_link
from planner.cli.following import follow
from planner.cli.reporting import JobFailedError, out, say, show_json, show_table, with_error
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError, InvalidRequestError
from planner.operations import AbstractOperations
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveRun, AdaptiveStep, BudgetOutlook
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BoundsRequest, BudgetSpec
from planner.schemas.sizes import Bounds
from planner.services.adaptive import link_request
from planner.services.links import check_probes
from planner.solving.budget_limits import SHOWN
from sensitivity.links.pairs import LEAST_PAIRS

Adaptive = Annotated[
    bool,
    typer.Option(
        "--adaptive", help="Then measure exactly (kl) the cells that plans for --budgets hang on, until they are stable."
    ),
]
Budgets = Annotated[str | None, typer.Option(help="Of --adaptive: effective bits of the plans, comma-separated.")]
Cells = Annotated[
    int | None, typer.Option(help="Of --adaptive: stop at so many exact cells, those that were measured before included.")
]
Tolerance = Annotated[
    float, typer.Option(help="Of --adaptive: stop when no plan loses more than this share of its loss in nine of ten draws.")
]
Batch = Annotated[int, typer.Option(help="Of --adaptive: cells that are measured before plans are made again.")]

EXACT: Final = "kl"
"""The exact probe."""

ENDS = {
    "stable": "the plans are stable: in nine of ten draws, exact cells take no more than the tolerance off their losses",
    "spent": "the limit of exact cells is reached",
    "exact": "no cell is left whose exact number would change a plan",
}


def read_budgets(text: str | None, *, adaptive: bool, alone: bool) -> list[BudgetSpec]:
    """``4.25,4.75`` as budgets in effective bits; none without ``--adaptive``.

    Args:
        text: of ``--budgets``.
        adaptive: ``--adaptive`` is given.
        alone: without ``--detach``, ``--force`` and ``--sample``.

    Raises:
        InvalidRequestError: one of the two options without the other, no number, or others that contradict them.
    """
    if not adaptive and text is None:
        return []
    if not adaptive:
        msg = "--budgets says what --adaptive measures for: give both, or neither"
        raise InvalidRequestError(msg)
    if not alone:
        msg = "--adaptive chooses its cells by what it found last and waits for them: leave out --detach, --force and --sample"
        raise InvalidRequestError(msg)
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    try:
        bits = [float(part) for part in parts]
    except ValueError:
        bits = []
    if not bits:
        msg = f"--adaptive measures for plans: give their budgets in effective bits, --budgets 4.25,4.75 (not {text!r})"
        raise InvalidRequestError(msg)
    return [BudgetSpec(effective_bits=value) for value in bits]


def check_question(
    bitplan: AbstractOperations,
    model: str,
    budgets: Sequence[BudgetSpec],
    *,
    probe: str,
    formats: list[str] | None,
    runtime: str,
) -> None:
    """Refuse what cannot be asked before anything is measured, as far as that is known by then.

    Args:
        bitplan: who answers.
        model: model id, or its name.
        budgets: in effective bits.
        probe: the cheap one.
        formats: candidates; ``None`` for whatever is measured by then.
        runtime: which engine.

    Raises:
        NotFoundError: no such model.
        BudgetError: a budget that no plan can keep, or that binds nothing.
        InvalidRequestError: a probe that cannot be linked, or so few layers and formats that nothing is left to foretell.
    """
    check_probes(probe, EXACT)
    if not formats:
        return
    found = bitplan.ask_bounds(model, BoundsRequest(formats=formats, runtime=runtime))
    _check_budgets(found, budgets)
    cells = found.layers * len(found.formats)
    if cells < LEAST_PAIRS:
        msg = (
            f"{found.layers} layers in {len(found.formats)} formats are {cells} cells, and {LEAST_PAIRS} exact ones are needed "
            f"to foretell others: name more formats, or measure all of them exactly (bitplan measure {model} --probe {EXACT})"
        )
        raise InvalidRequestError(msg, cells=cells)


def _check_budgets(found: Bounds, budgets: Sequence[BudgetSpec]) -> None:
    unit = BudgetKind.EFFECTIVE_BITS
    least, most = (math.ceil(size.effective_bits * SHOWN) / SHOWN for size in (found.smallest, found.largest))
    for bits in (budget.effective_bits for budget in budgets if budget.effective_bits is not None):
        words = f"nothing was measured: the budget of {bits:g} effective bits is"
        if bits < found.smallest.effective_bits:
            msg = f"{words} below the smallest plan; the least feasible is {least:g}. Raise the budget, or add smaller formats"
            raise BudgetBelowFloorError(msg, smallest_feasible=least, unit=unit.value)
        if bits > most:
            msg = f"{words} above the largest plan, which needs {most:g}. Lower the budget, or add larger formats"
            raise BudgetAboveCeilingError(msg, largest_useful=most, unit=unit.value)


def measure_adaptively(bitplan: AbstractOperations, request: AdaptiveRequest, like: SubmitSensitivity, *, as_json: bool) -> None:
    """Measure, link and plan in turns until the plans are stable or the cells are spent; keep the linked curves.

    The state is in the database: interrupted, the same request goes on where it was.

    Args:
        bitplan: who answers.
        request: the question.
        like: the job of the cheap curves; those of the exact cells run in the same way, on the same workers.
        as_json: print one document at the end, and no rounds.

    Raises:
        JobFailedError: a measurement or some of its units failed, or it was cancelled, or it left its cells unmeasured.
    """
    steps: list[AdaptiveStep] = []
    ways = {"streaming": like.streaming, "label": like.label}
    with bitplan.working():
        while True:
            step = bitplan.next_step(request)
            if not as_json:
                _show_step(step, steps)
            if step.next is None:
                break
            if steps and step.next == steps[-1].next:
                msg = "the last job measured none of its cells, and they would be asked for again: see bitplan jobs list"
                raise JobFailedError(msg, model=step.model)
            steps.append(step)
            job = follow(bitplan, bitplan.submit_job(step.next.model_copy(update=ways)).id, quiet=as_json)
            if job.failed:  # the next round would ask for the same cells again
                msg = f"job {job.id}: {job.reason}"
                raise JobFailedError(msg, job=job.id, state=job.state.value)
    link = bitplan.create_link(step.model, link_request(request, step))
    if as_json:
        show_json(AdaptiveRun(steps=[*steps, step], link=link))
    else:
        show_link(link)


def _show_step(step: AdaptiveStep, before: Sequence[AdaptiveStep]) -> None:
    link = "" if step.link is None else f"; link {shape_of(step.link)}, held-out R² {step.link.held_out.r2:.3f}"
    out.print(f"[bold]round {len(before) + 1}[/]: {step.exact_cells} exact cells, {step.open_cells} open{link}", highlight=False)
    if step.plans:
        last = before[-1].plans if before else []
        rows = [_row(plan, last[number] if last else None) for number, plan in enumerate(step.plans)]
        show_table("", ["budget", "predicted", "expected regret", "layers changed"], rows)
    if step.next is not None and step.next.cells is not None:
        say(f"measuring {sum(map(len, step.next.cells.values()))} cells of {len(step.next.cells)} layers with {step.next.probe}")
    if step.finished is not None:
        out.print(ENDS[step.finished], highlight=False, soft_wrap=True)


def _row(plan: BudgetOutlook, last: BudgetOutlook | None) -> list[str]:
    changed = "–" if last is None else str(sum(last.formats[layer] != name for layer, name in plan.formats.items()))
    kind = next(kind for kind in BudgetKind if getattr(plan.budget, kind.value) is not None)
    return [
        f"{getattr(plan.budget, kind.value):g} {kind.value}",
        with_error(plan.predicted_loss, plan.standard_error),
        f"{plan.relative_regret:.1%}, 9/10 ≤ {plan.relative_high_regret:.1%}",
        changed,
    ]
