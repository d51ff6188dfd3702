"""Shrinkage on SmolLM2-135M: plans from the cells of some sequences, judged by the cells of the others."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import solvers
from planner.solving.shrinkage import shrink
from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.fisher import Fisher
from sensitivity.statistics import mean_and_error, observe
from sensitivity.tokens import cut

SPEC = CalibrationSpec(sequences=48, sequence_length=256, held_out_sequences=1, held_out_length=64)
FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 5, 6, 8)]
BUDGETS = (4.25, 5.25)
HALVES = 40
TAKEN = (6, 12, 24)

Table = NDArray[np.float64]


@pytest.mark.benchmark
@pytest.mark.real
def test_plans_and_predictions_from_shrunk_curves(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sequences are independent, so the others' mean is an unbiased judge of whatever was chosen without them."""
    samples, sizes, weights = measure(smollm2)
    lines = [f"errors of two formats of a layer correlate by {correlation(samples):.2f} on average", ""]
    lines += ["| sequences | bits | held-out loss, shrunk ÷ raw | predicted ÷ held-out, raw | shrunk |", "|---|---|---|---|---|"]
    for taken in TAKEN:
        rows = np.array([judged(samples, sizes, weights, taken=taken, seed=seed) for seed in range(HALVES)]).mean(axis=0)
        for bits, (raw, shrunk, raw_predicted, predicted) in zip(BUDGETS, rows, strict=True):
            ratios = (shrunk / raw, raw_predicted / raw, predicted / shrunk)
            lines.append(f"| {taken} | {bits} | " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |")
            assert shrunk < raw
            assert abs(predicted / shrunk - 1) < abs(raw_predicted / raw - 1)
    with capsys.disabled():
        print("\n".join(["", *lines]))  # noqa: T201


def measure(path: Path) -> tuple[Table, NDArray[np.int64], int]:
    """One sample of ``fisher`` for each sequence and cell, stored bits of the cells, and the number of weights."""
    model = load_model(describe(str(path)))
    layers = [name for name in model.linears if model.block_of(name) is not None]
    tokens = cut(read_text("builtin")[0], model.tokenizer, SPEC).calibration
    run = ProbeRun(model=model, layers=layers, formats=FORMATS, rounding="rtn", tokens=tokens, seed=0)
    samples = np.stack([Fisher().run(run, Unit(f"{index}", (index,)))[..., 1] for index in range(SPEC.sequences)])
    shapes = [(model.linears[name].out_features, model.linears[name].in_features) for name in layers]
    sizes = np.array([[fmt.size_bits(shape) for fmt in FORMATS] for shape in shapes], dtype=np.int64)
    return samples, sizes, sum(rows * columns for rows, columns in shapes)


def correlation(samples: Table) -> float:
    """Mean over layers and pairs of formats."""
    pairs = np.mean([np.corrcoef(samples[:, layer].T) for layer in range(samples.shape[1])], axis=0)
    return float(pairs[~np.eye(len(FORMATS), dtype=bool)].mean())


def judged(samples: Table, sizes: NDArray[np.int64], weights: int, *, taken: int, seed: int) -> list[tuple[float, ...]]:
    """For each budget: held-out loss of the plan from raw and from shrunk curves, and what each predicted."""
    order = np.random.default_rng(seed).permutation(len(samples))
    loss, error = mean_and_error(observe(samples[order[:taken]]))
    judge, tables = samples[order[taken:]].mean(axis=0), (loss, shrink(loss, error).loss)
    found = []
    for bits in BUDGETS:
        problems = [solvers.Problem(table, sizes[None], np.array([int(bits * weights)])) for table in tables]
        choices = [solvers.solve(problem, solvers.Mckp()).choice for problem in problems]
        places = [(np.arange(len(choice)), choice) for choice in choices]
        held_out = [float(judge[place].sum()) for place in places]
        predicted = [float(table[place].sum()) for table, place in zip(tables, places, strict=True)]
        found.append((*held_out, *predicted))
    return found
