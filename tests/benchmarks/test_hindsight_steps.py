"""What steps gain over a plain `fisher` plan when the text they are measured on is the text they are judged on, on SmolLM2-135M.

A method that does not know the held-out text cannot be expected to gain more there than one that does. So around each plan the
changes are measured on the held-out tokens themselves, with several draws, steps with a guard of any width are taken, and the
best is kept by its KL on the same tokens; then once more from there. This is no bound on all allocations, and it says nothing of
other texts: it is what refining could reach without any luck to pay for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import solvers
from planner.solving.shrinkage import shrink
from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.reading import describe
from sensitivity.evaluation import evaluate, summarise
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.probes.base import AbstractProbe, ProbeRun
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.marginal import Marginal
from sensitivity.statistics import mean_and_error
from sensitivity.tokens import cut
from tests.benchmarks.tied_groups import tied_groups

SPEC = CalibrationSpec(sequences=48, sequence_length=256, held_out_sequences=8, held_out_length=512)
FORMATS = [get_format(f"INT{bits}_G64") for bits in (3, 4, 6, 8)]
BUDGETS = (4.75, 5.25, 6.25)
DRAWS, STEPS = 2, 2
GUARDS = (0.0, 0.5, 1.0, 2.0)  # standard errors of a change that it has to be better by

Table = NDArray[np.float64]
Choice = NDArray[np.int64]


@dataclass(frozen=True)
class Tied:
    """Exact plans of groups of layers under one budget."""

    layers: list[Layer]

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """Group of each layer."""
        return tied_groups(self.layers)

    def plan(self, loss: Table, bits: float) -> Choice:
        """Index of each layer's format."""
        summed, sizes = np.zeros((self.group.max() + 1, len(FORMATS))), np.zeros((self.group.max() + 1, len(FORMATS)), np.int64)
        np.add.at(summed, self.group, loss)
        np.add.at(sizes, self.group, np.array([[fmt.size_bits(one.shape) for fmt in FORMATS] for one in self.layers]))
        budget = int(bits * sum(one.parameters for one in self.layers))
        solved = solvers.solve(solvers.Problem(summed, sizes[None], np.array([budget])), solvers.Mckp())
        chosen: Choice = solved.choice[self.group]
        return chosen


def cells(probe: AbstractProbe, run: ProbeRun) -> tuple[Table, Table]:
    """Losses and standard errors (layers, formats) of a whole run."""
    sequences = len(run.calibration_tokens)
    merged = probe.merge([probe.run(run, unit) for unit in probe.units(blocks=len(run.model.blocks), sequences=sequences)])
    loss, error = mean_and_error(probe.completed(merged, sequences=sequences))
    return loss, error


def assigned(run: ProbeRun, choice: Choice) -> dict[str, CandidateFormat]:
    return {name: FORMATS[column] for name, column in zip(run.layers, choice, strict=True)}


def measured(run: ProbeRun, choices: Mapping[str, Choice]) -> dict[str, float]:
    """KL on the run's own tokens, nats per token, by label."""
    found = evaluate(run.model, [assigned(run, choice) for choice in choices.values()], run.calibration_tokens)
    return {label: summarise(statistics).kl for label, statistics in zip(choices, found, strict=True)}


def stepped(run: ProbeRun, tied: Tied, start: Choice, bits: float) -> tuple[Choice, float]:
    """The best of some steps from a plan, or the plan itself, by its KL on the run's tokens."""
    change, error = cells(Marginal(draws=DRAWS), replace(run, around=assigned(run, start), cache={}))
    choices = {"start": start} | {f"{guard}": tied.plan(change + guard * error, bits) for guard in GUARDS}
    found = measured(run, choices)
    best = min(found, key=found.__getitem__)
    return choices[best], found[best]


@pytest.mark.benchmark
@pytest.mark.real
def test_steps_that_know_the_text(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some forty minutes of processor time: {3,4,6,8}, layers tied as vLLM ties them."""
    description = describe(str(smollm2))
    model = load_model(description)
    layers = [layer for layer in description.layers if layer.block is not None]
    tokens = cut(read_text("builtin")[0], model.tokenizer, SPEC)
    run = ProbeRun(model, [layer.name for layer in layers], FORMATS, "rtn", tokens.calibration, seed=0)
    judged = replace(run, tokens=tokens.held_out, cache={})
    tied = Tied(layers)
    loss, error = cells(Fisher(), run)
    ratios = {}
    for bits in BUDGETS:
        plain = tied.plan(loss, bits)
        best, reached = tied.plan(shrink(loss, error).loss, bits), []
        for _ in range(STEPS):
            best, kl = stepped(judged, tied, best, bits)
            reached.append(kl)
        beside = measured(judged, {"plain": plain})["plain"]
        ratios[bits] = reached[-1] / beside
        with capsys.disabled():
            shown = ", ".join(f"{kl / beside:.3f}" for kl in reached)
            print(f"\ntied, {bits} bits: plain {beside:.4f}; steps with hindsight ÷ plain: {shown}")  # noqa: T201
    assert ratios[4.75] > 0.92
