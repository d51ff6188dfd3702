"""Engines asked: in this process where the library is at hand, else by the environment of the exports' libraries."""

import importlib
import json
import os
import subprocess
from collections.abc import Sequence
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


def ask(target: Target, directories: Sequence[Path]) -> list[Answer]:
    """Load checkpoints with the target's own library, one after the other in one process."""
    if not target.own_environment:
        return [_in_process(target, directory) for directory in directories]
    answers: list[Answer] = []
    while len(answers) < len(directories):
        answers += _in_environment(target, directories[len(answers) :])
    return answers


def _in_process(target: Target, directory: Path) -> Answer:
    engine = importlib.import_module(f"tests.exports.engines.{target.engine}")
    loaded = engine.load(directory)
    return Answer(loaded.layers, {name: version(name) for name in engine.LIBRARIES}, loaded.logits)


def _in_environment(target: Target, directories: Sequence[Path]) -> list[Answer]:
    """Answers of one process: all of them, or those up to the first checkpoint that it failed at."""
    files = [directory.with_name(f"{directory.name}.npy") for directory in directories]
    pairs = [str(part) for pair in zip(directories, files, strict=True) for part in pair]
    command = [str(PYTHON), "-m", f"tests.exports.engines.{target.engine}", *pairs]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **target.environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = [json.loads(line) for line in run.stdout.splitlines()]
    answers = [Answer(one["layers"], one["versions"], np.load(file)) for one, file in zip(said, files, strict=False)]
    if len(answers) < len(directories):
        answers.append(Answer({}, {}, None, "\n".join(run.stderr.splitlines()[-15:]) or f"ended with {run.returncode}"))
    return answers
