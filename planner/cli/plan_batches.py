"""Many plans of one command: from a list of budgets or a file of questions, shown as one table."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import ValidationError

from planner.cli.reporting import BAD_INPUT, BUDGET, in_bytes, out, problem_of, show_json, show_table
from planner.errors import InvalidRequestError
from planner.operations import AbstractOperations
from planner.schemas.budget_words import budget_words
from planner.schemas.plan_batches import MOST_REQUESTS, BatchItem, PlanBatch, PlanBatchAnswer
from planner.schemas.plans import PlanRequest, PlanSummary

MOST_BYTES: Final = 16 * 2**20
"""Of a file of questions."""


def read_questions(path: Path, rest: dict[str, Any]) -> list[PlanRequest]:
    """Planning questions from a file: a JSON object a line, as ``POST /v1/plans`` takes it; blank lines do not count.

    Args:
        path: the file.
        rest: what a line that leaves a field out asks for.

    Raises:
        InvalidRequestError: a file that cannot be read, is too large or holds no question, or a line that is none.
    """
    found = [_question(line, rest, where=f"{path}, line {number}") for number, line in _lines(path)]
    if not found:
        msg = f'{path} holds no question: write a JSON object a line, for example {{"budget": {{"effective_bits": 4.25}}}}'
        raise InvalidRequestError(msg)
    return found


def make_all(bitplan: AbstractOperations, requests: Sequence[PlanRequest]) -> PlanBatchAnswer:
    """The plans of all requests in short, asked for in as many batches as it takes."""
    items: list[BatchItem] = []
    for first in range(0, len(requests), MOST_REQUESTS):
        batch = PlanBatch(requests=list(requests[first : first + MOST_REQUESTS]), answers="summaries")
        items += bitplan.create_plans(batch).items
    planned = sum(item.problem is None for item in items)
    return PlanBatchAnswer(items=items, planned=planned, failed=len(items) - planned)


def show_all(requests: Sequence[PlanRequest], answer: PlanBatchAnswer, *, as_json: bool) -> None:
    """One row a request; the process ends with an exit code that is not 0 where one was not planned."""
    if as_json:
        show_json(answer)
    else:
        asked = _asked(requests)
        rows = [_row(what, item.summary) for what, item in zip(asked, answer.items, strict=True)]
        show_table(f"{answer.planned} plans", ["asked for", "bits", "file", "predicted", "id"], rows)
        for what, item in zip(asked, answer.items, strict=True):
            if item.problem is not None:
                out.print(f"{what}: {item.problem.detail}", markup=False, highlight=False, soft_wrap=True)
    problems = {item.problem.type.rpartition(":")[2] for item in answer.items if item.problem is not None}
    if problems:
        raise typer.Exit(BUDGET if all(kind.startswith("budget-") for kind in problems) else BAD_INPUT)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read questions from {path}: name a text file with a JSON object a line"
        raise InvalidRequestError(msg) from error
    if len(text) > MOST_BYTES:
        msg = f"{path} is larger than {MOST_BYTES // 2**20} MiB: split it"
        raise InvalidRequestError(msg)
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _question(line: str, rest: dict[str, Any], *, where: str) -> PlanRequest:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{where}: no JSON"
        raise InvalidRequestError(msg) from error
    if not isinstance(given, dict):
        msg = f"{where}: a question is a JSON object, as POST /v1/plans takes it"
        raise InvalidRequestError(msg)
    try:
        return PlanRequest.model_validate(rest | given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        msg = f"{where}: {problem_of(first['loc'], first['msg'])}"
        raise InvalidRequestError(msg) from error


def _row(asked: str, plan: PlanSummary | None) -> list[str]:
    if plan is None:
        return [asked, "", "", "none", ""]
    return [asked, f"{plan.effective_bits:.4f}", in_bytes(plan.file_bytes), f"{plan.predicted_loss:.4g}", plan.id]


def _asked(requests: Sequence[PlanRequest]) -> list[str]:
    """What tells the requests apart: their budgets, and their models and runtimes where these are several."""
    models, runtimes = ({getattr(request, field) for request in requests} for field in ("model", "runtime"))
    return [
        ", ".join(
            [
                *([request.model] if len(models) > 1 else []),
                *([request.runtime] if len(runtimes) > 1 else []),
                budget_words(request.budget, in_bytes),
            ]
        )
        for request in requests
    ]
