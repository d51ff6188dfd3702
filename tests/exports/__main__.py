"""Every export loaded by its target's library: ``python -m tests.exports [TARGET …]``, which `make export-test` runs.

Prints a table and ends with one line that begins ``ok:`` or ``short:``. Needs ``.venv-exports`` with all of
constraints-exports.txt.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from planner.errors import PlannerError
from sensitivity.errors import SensitivityError
from sensitivity.loading import LoadedModel
from tests.exports.checkpoints import MODELS, Written, load_source, write_plan
from tests.exports.comparison import Comparison, compare
from tests.exports.running import Answer, ask, is_missing
from tests.exports.target import Target
from tests.exports.targets import all_targets

COLUMNS = ("target", "model", "loaded", "formats", "bytes of tensors", "bytes of files", "largest logit difference / std", "by")
NO_ANSWER = Answer({}, {}, None)
LEFT = frozenset({"target", "model", "loaded", "by"})


@dataclass(frozen=True, slots=True)
class Row:
    """A target and a model: the engine's answer and how it compares, or what kept the plan from being written."""

    target: str
    model: str
    formats: int
    answer: Answer
    found: Comparison

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        written, predicted = self.found.written_bytes, self.found.predicted_bytes
        size = f"{written:,}" if written == predicted else f"{written:,} of {predicted:,}"
        files = "by the engine" if self.found.file_bytes is None else f"{self.found.file_bytes:,}"
        difference = "rounds by itself" if self.found.difference is None else f"{self.found.difference:.1e}"
        loaded = "yes" if self.answer.logits is not None else "no"
        by = ", ".join(f"{name} {version}" for name, version in self.answer.versions.items())
        return self.target, self.model, loaded, str(self.formats), size, files, difference, by


def rows_of(target: Target, models: Sequence[tuple[str, LoadedModel]], place: Path) -> Iterator[Row]:
    """Write a mixed plan of every model and let the engine load them all in one process."""
    written: dict[str, Written] = {}
    for name, model in models:
        try:
            written[name] = write_plan(target, model, place / target.engine / name)
        except (PlannerError, SensitivityError) as error:
            yield Row(target.name, name, 0, NO_ANSWER, Comparison(0, 0, None, None, (f"not written: {error}",)))
    answers = ask(target, [one.directory for one in written.values()], apart=True)
    for (name, one), answer in zip(written.items(), answers, strict=True):
        formats = len({fmt.name for fmt in one.plan.values()})
        yield Row(target.name, name, formats, answer, compare(target, one, answer))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets that the arguments name, by default those of the command line; if none is named, all."""
    known = all_targets()
    parser = argparse.ArgumentParser(prog="python -m tests.exports", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"any of {', '.join(known)}")
    wanted = parser.parse_args(arguments).targets or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.stdout.write(f"short: no export is tested under the name {', '.join(unknown)}: use any of {', '.join(known)}\n")
        return 2
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        names = [name for name in MODELS if any(name in known[target].models for target in wanted)]
        models = {name: load_source(name, place) for name in names}
        faults, rows = _run([known[name] for name in wanted], models, place)
    return _report(rows, faults)


def _run(targets: Sequence[Target], models: dict[str, LoadedModel], place: Path) -> tuple[list[str], list[Row]]:
    faults: list[str] = []
    rows: list[Row] = []
    for target in targets:
        missing = is_missing(target)
        if missing:
            faults.append(missing)
            continue
        rows += rows_of(target, [(name, model) for name, model in models.items() if name in target.models], place)
    faults += [f"{row.target} of {row.model}: {fault}" for row in rows for fault in row.found.faults]
    return faults, rows


def _report(rows: Sequence[Row], faults: Sequence[str]) -> int:
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
    for row in rows:
        table.add_row(*row.cells)
    Console(width=130).print(table)
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    models = len({row.model for row in rows})
    if faults:
        sys.stdout.write(f"short: {len(faults)} faults in {len(rows)} exports\n")
        return 1
    sys.stdout.write(
        f"ok: {len(rows)} exports of {models} models, loaded by their own libraries: formats, bytes and logits as planned, "
        f"and {sum(row.found.file_bytes is not None for row in rows)} files of weights of exactly the promised bytes\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
