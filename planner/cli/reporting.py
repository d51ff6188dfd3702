"""How the command line speaks: tables for people, one JSON document for programs, one sentence for an error."""

import json
import math
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from planner.cli.entry import INTERRUPTED, say_interrupted
from planner.errors import BudgetError, PlannerError, UnauthenticatedError, problem_code
from planner.storage.failures import MEANWHILE, conflict_of
from sensitivity.errors import SensitivityError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

BAD_INPUT, BUDGET, JOB_FAILED = 2, 3, 4
_VALUE = "Value error, "
"""What pydantic puts before the words of a check of ours."""

out = Console()
err = Console(stderr=True)


class JobFailedError(PlannerError):
    """A job that ended without success; the reason is its message."""

    code = "job-failed"


class ReportingGroup(TyperGroup):
    """Turns the errors of the domain into one sentence on stderr (or one JSON document) and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; domain errors end the process with their exit code."""
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            message = "; ".join(problem_of(one["loc"], one["msg"]) for one in error.errors())
            _fail("invalid-request", message, {}, BAD_INPUT)
        except (PlannerError, SensitivityError) as error:
            fields = error.fields if isinstance(error, PlannerError) else {}
            _fail(problem_code(type(error)), str(error), fields, _exit_code(error), notes=_notes(error))
        except MEANWHILE as error:
            conflict = conflict_of(error)
            if conflict is None:
                raise
            _fail(conflict.code, str(conflict), {}, BAD_INPUT)
        except KeyboardInterrupt:
            say_interrupted()
            raise typer.Exit(INTERRUPTED) from None


def problem_of(place: Sequence[int | str], message: str) -> str:
    """What is wrong with a field of a request, or with the whole of it, in the words of whoever checks it."""
    return ": ".join([*([".".join(str(part) for part in place)] if place else []), message.removeprefix(_VALUE)])


def _notes(error: Exception) -> list[str]:
    """The request id of an answer of a service, to search its logs for, and where a command takes a key from."""
    takes_key = ["a command takes the key from BITPLAN_API_KEY, or from the file of --key-file"]
    return [*getattr(error, "__notes__", ()), *(takes_key if isinstance(error, UnauthenticatedError) else [])]


def _exit_code(error: PlannerError | SensitivityError) -> int:
    if isinstance(error, BudgetError):
        return BUDGET
    return JOB_FAILED if isinstance(error, JobFailedError) else BAD_INPUT


def _fail(code: str, message: str, fields: dict[str, object], exit_code: int, *, notes: Sequence[str] = ()) -> None:
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": code, "detail": message, **fields}, default=str) + "\n")
    else:
        err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
        for note in notes:
            err.print(f"[dim]{escape(note)}[/]", highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def show_json(document: BaseModel | list[Any] | dict[str, Any]) -> None:
    """One JSON document on stdout."""
    text = document.model_dump_json(indent=2) if isinstance(document, BaseModel) else json.dumps(document, indent=2)
    sys.stdout.write(text + "\n")


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; numbers align right, and texts are shown as they are, brackets too."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index > 0)
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


def say(message: str) -> None:
    """A line for people, on stderr, so that stdout stays clean."""
    err.print(message, markup=False, highlight=False, soft_wrap=True)


def in_bytes(value: int) -> str:
    """A size for people, decimal units."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.2f} {unit}"
        amount /= 1000
    return f"{amount:.2f} TB"


def with_error(value: float, error: float | None) -> str:
    """``value ± error``, both to the second digit of the error; four digits where no error is known."""
    if error is None or not 0 < error < math.inf:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
