"""Engines asked: in this process where the library is at hand, else by the environment of the exports' libraries."""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.exports.target import Target

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-exports" / "bin" / "python"
REQUIRED = "BITPLAN_EXPORT_ENGINES"
"""Set to ``required``, a missing engine is a failure; otherwise its tests are skipped."""
SECONDS = 600
"""How long an engine may take for a checkpoint, and for those after it."""
ENGINES = "tests.exports.engines"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine said of a checkpoint.

    Attributes:
        layers: as ``engines.answer.Loaded.layers``; empty if it could not be loaded.
        versions: of the libraries.
        logits: float32 (sequences, length, vocabulary); ``None`` if it could not be loaded.
        fault: the last lines of the error; empty if it was loaded.
    """

    layers: dict[str, dict[str, Any]]
    versions: dict[str, str]
    logits: NDArray[np.float32] | None
    fault: str = ""


def is_missing(target: Target) -> str:
    """Why the engine cannot be run here; empty if it can."""
    if target.own_environment and not PYTHON.exists():
        return f"{target.name} needs the exports' libraries: run make export-test"
    return ""


def ask(target: Target, directories: Sequence[Path], *, apart: bool = False) -> list[Answer]:
    """Load checkpoints with the target's own library, one after the other in one process; a new one after each that fails.

    Args:
        target: whose library.
        directories: of the checkpoints.
        apart: use processes of their own even where the library is at hand, so that one that fails or hangs is an answer as well.
    """
    if not (apart or target.own_environment):
        return [_in_process(target, directory) for directory in directories]
    answers: list[Answer] = []
    while len(answers) < len(directories):
        answers += _in_environment(target, directories[len(answers) :])
    return answers


def _in_process(target: Target, directory: Path) -> Answer:
    engine = importlib.import_module(f"{ENGINES}.{target.engine}")
    loaded = engine.load(directory)
    return Answer(loaded.layers, {name: version(name) for name in engine.LIBRARIES}, loaded.logits)


def _in_environment(target: Target, directories: Sequence[Path]) -> list[Answer]:
    """Answers of one process: all of them, or those up to the first checkpoint that it failed at."""
    files = [directory.with_name(f"{directory.name}.npy") for directory in directories]
    pairs = [str(part) for pair in zip(directories, files, strict=True) for part in pair]
    python = PYTHON if target.own_environment else sys.executable
    said, fault = _run([str(python), "-m", f"{ENGINES}.{target.engine}", *pairs], target)
    answers = [Answer(one["layers"], one["versions"], np.load(file)) for one, file in zip(_documents(said), files, strict=False)]
    if len(answers) < len(directories):
        answers.append(Answer({}, {}, None, fault))
    return answers


def _run(command: Sequence[str], target: Target) -> tuple[str, str]:
    """What a process wrote to its standard output, and what went wrong if that is not all."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **target.environment}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=errors, start_new_session=True)
        try:
            fault = f"ended with {process.wait(SECONDS)}"
        except subprocess.TimeoutExpired:
            fault = f"was not done after {SECONDS} seconds"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # processes of its own as well
            process.wait()
        said.seek(0)
        errors.seek(0)
        return said.read(), "\n".join([*errors.read().splitlines()[-15:], fault])


def _documents(said: str) -> Iterator[dict[str, Any]]:
    """Lines up to the first that a process did not finish."""
    for line in said.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
