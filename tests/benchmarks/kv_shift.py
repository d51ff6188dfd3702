"""Weights and caches of SmolLM2-135M under one budget of bytes, at contexts of 1k to 128k.

``python -m tests.benchmarks.kv_shift``; ``DIRECTORY`` (a temporary one by default) keeps what was measured: a second run measures
nothing. ``PICTURE`` says where the picture goes, by default ``build/kv_shift.png``; ``SEQUENCES`` and ``LENGTH`` what caches are
measured on, 2 and 128 by default: minutes on quiet cores (``OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE`` on busy ones). Cells of
caches are the KL of short sequences with one cache quantized at a time, so that bits shift by what they say at that length; the
sizes are exact at every context. The last line begins ``ok:``, or ``short:`` with exit code 1, and says where the picture is.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from planner.demo_model import smollm2_path
from planner.schemas.plans import PlanDocument, PlanRequest
from planner.services.models import get_model
from planner.services.plans import make_plan
from planner.storage.database import Database
from tests.benchmarks.goals import Goal, closing_line

NAME: Final = "smollm2"
WEIGHTS: Final = ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64", "BF16")
CACHES: Final = tuple(f"{tensor}_INT{bits}" for tensor in "KV" for bits in (8, 4, 2))
PICTURE: Final = Path("build", "kv_shift.png")
BUDGETS: Final = {240_000_000: (1, 2, 4, 8, 12, 16, 24, 32), 700_000_000: (8, 16, 24, 32, 48, 64, 96, 128)}
"""Bytes → contexts in thousands of tokens (1,024)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A plan at one context.

    Attributes:
        plan: the document.
        weights: effective bits of a planned weight.
        keys: stored bits of an element of the keys, over all layers.
        values: stored bits of an element of the values.
    """

    plan: PlanDocument
    weights: float
    keys: float
    values: float


def say(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201


def measure(directory: Path, sequences: int, length: int) -> None:
    """Register the model and measure what is missing, as a user would."""
    program = str(Path(sysconfig.get_path("scripts")) / "bitplan")
    environment = os.environ | {"BITPLAN_DATA_DIR": str(directory)}
    cut = ["--sequences", str(sequences), "--sequence-length", str(length)]
    for arguments in (
        ["models", "add", str(smollm2_path()), "--name", NAME],
        ["measure", NAME, "--probe", "fisher", "--sequences", "24", "--formats", ",".join(WEIGHTS)],
        ["measure", NAME, "--probe", "kv_cache", "--formats", ",".join(CACHES), *cut],
    ):
        subprocess.run([program, *arguments], check=True, env=environment)


def planned(database: Database, memory: int, context: int) -> Point:
    """The best weights and caches together; every plan is proven."""
    budget = {"resident_bytes": memory, "context": context}
    request = {"model": NAME, "probe": "fisher", "budget": budget, "kv_formats": ["measured"], "allow_slack": True}
    with database.read_session() as session:
        plan = make_plan(session, PlanRequest.model_validate(request))
        per_token = get_model(session, NAME).kv_elements_per_token
    bits = {tensor: sum(choice.size_bits for choice in plan.kv if choice.tensor == tensor) for tensor in "KV"}
    elements = per_token // 2 * context  # of all keys, and as many of all values
    return Point(plan, plan.size.effective_bits, bits["K"] / elements, bits["V"] / elements)


def show(memory: int, points: dict[int, Point]) -> None:
    say(f"{memory / 1e6:.0f} MB of weights, cache and everything else")
    say(f"{'context':>8} {'weights':>8} {'keys':>6} {'values':>6} {'loss':>8} {'one format each':>16} {'gap':>6}")
    for context, point in points.items():
        uniform = point.plan.references[0].loss
        compared = "does not fit" if uniform is None else f"{uniform:.4f}"
        row = f"{context:>7}k {point.weights:>8.3f} {point.keys:>6.2f} {point.values:>6.2f} {point.plan.predicted.loss:>8.4f}"
        say(f"{row} {compared:>16} {point.plan.proof.gap:>6.0e}")
    say()


def draw(found: dict[int, dict[int, Point]], path: Path) -> None:
    """Bits of weights, keys and values over the context, a panel for each budget."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axis, (memory, points) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        for label, color, marker in (("weights", "#33567f", "o"), ("keys", "#c96a1b", "s"), ("values", "#4b8b3b", "^")):
            axis.plot(list(points), [getattr(point, label) for point in points.values()], color=color, marker=marker, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(points), [f"{context}k" for context in points], fontsize=8)
        axis.set_xlabel("tokens in the cache")
        axis.set_ylabel("stored bits of an element, scales included")
        axis.set_title(f"SmolLM2-135M in {memory / 1e6:.0f} MB")
        axis.grid(visible=True, alpha=0.25)
        axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def goals(found: dict[int, dict[int, Point]]) -> list[Goal]:
    """What must be seen: a longer context never costs less, and takes from weights and caches alike."""
    falls = keys_below = 0
    shifts = []
    for points in found.values():
        line = list(points.values())
        falls += sum(after.plan.predicted.loss < before.plan.predicted.loss for before, after in pairwise(line))
        keys_below += sum(point.keys < point.values - 1e-9 for point in line)
        first, last = line[0], line[-1]
        shifts += [first.weights - last.weights, (first.keys + first.values - last.keys - last.values) / 2]
    gap = max(point.plan.proof.gap for points in found.values() for point in points.values())
    return [
        Goal("contexts at which a longer one lost less", falls, 0),
        Goal(
            "bits that weights, and caches, give up over the contexts",
            min(shifts),
            0.5,
            at_least=True,
        ),
        Goal("contexts at which keys have fewer bits than values", keys_below, 0),
        Goal("greatest gap", gap, 0),
    ]


def main(directory: Path, picture: Path, sequences: int, length: int) -> int:
    """Measure, plan, draw, and judge: 0 if every goal is reached, else 1."""
    measure(directory, sequences, length)
    database = Database(f"sqlite:///{directory / 'bitplan.db'}")
    found = {
        memory: {context: planned(database, memory, context * 1024) for context in contexts}
        for memory, contexts in BUDGETS.items()
    }
    database.close()
    for memory, points in found.items():
        show(memory, points)
    draw(found, picture)
    judged = goals(found)
    say(f"{closing_line(judged)}; picture: {picture}")
    return 0 if all(goal.reached for goal in judged) else 1


def run() -> int:
    """As the environment says."""
    picture = Path(os.environ.get("PICTURE") or PICTURE)
    sequences, length = int(os.environ.get("SEQUENCES", "2")), int(os.environ.get("LENGTH", "128"))
    kept = os.environ.get("DIRECTORY")
    if kept:
        return main(Path(kept), picture, sequences, length)
    with tempfile.TemporaryDirectory() as scratch:
        return main(Path(scratch), picture, sequences, length)


if __name__ == "__main__":
    sys.exit(run())
