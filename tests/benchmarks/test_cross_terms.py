"""What cross terms between layers are worth, on SmolLM2-135M: for the predicted loss of a plan, and for choosing one.

Samples are halved by sequences, six times. On one half a plan is chosen, from the cells alone or with the cross terms of pairs
of layers in one block; on the other half both are valued, with those cross terms.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import solvers
from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.cross_terms import Products, cross_terms
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.fisher_interaction import FisherInteraction
from sensitivity.tokens import cut

FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 6)]
SEQUENCES, LENGTH, HALVES, BITS = 48, 32, 6, (3.25, 4.25, 5.25)
Samples = NDArray[np.float64]
"""(samples, layers, formats)"""


def pair_tables(samples: Samples, pairs: NDArray[np.int64]) -> tuple[Samples, Samples]:
    """Mean and standard error of ``2 f_i f_j``, both (pairs, formats, formats)."""
    products = 2 * samples[:, pairs[:, 0], :, None] * samples[:, pairs[:, 1], None, :]
    return products.mean(axis=0), products.std(axis=0) / np.sqrt(len(samples))


class Halves:
    """Plans from one half of the samples, valued by the other."""

    def __init__(self, chosen_by: Samples, valued_by: Samples, sizes: NDArray[np.int64], pairs: NDArray[np.int64]) -> None:
        self.pairs, self.sizes = pairs, sizes
        self.loss, (self.tables, self.errors) = np.square(chosen_by).mean(axis=0), pair_tables(chosen_by, pairs)
        self.true_loss, self.true_tables = np.square(valued_by).mean(axis=0), pair_tables(valued_by, pairs)[0]

    def value(self, budget: int, sure: float | None) -> float:
        """Loss of the plan with the cross terms that pass so many standard errors; with ``None`` from the cells alone."""
        classes, budgets = len(self.loss), np.array([budget])
        tables = self.tables * 0 if sure is None else np.where(np.abs(self.tables) > sure * self.errors, self.tables, 0.0)
        kept = tables.any(axis=(1, 2))
        interaction = solvers.PairTables(self.pairs[kept], tables[kept], classes)
        problem = solvers.Problem(self.loss, self.sizes[None], budgets, (), interaction)
        choice = solvers.solve(problem, solvers.Interaction(), deadline=5).choice
        first, second = choice[self.pairs[:, 0]], choice[self.pairs[:, 1]]
        between = self.true_tables[np.arange(len(self.pairs)), first, second].sum()
        return float(self.true_loss[np.arange(classes), choice].sum() + between)


def measured(model: LoadedModel, layers: list[str]) -> Products:
    """Score products of one format after the other, (formats, layers, sequences, draws)."""
    spec = CalibrationSpec(sequences=SEQUENCES, sequence_length=LENGTH)
    tokens = cut(read_text("builtin")[0], model.tokenizer, spec).calibration
    run, probe = ProbeRun(model, layers, FORMATS, "rtn", tokens, seed=0), FisherInteraction()
    units = probe.units(blocks=len(model.blocks), sequences=SEQUENCES)
    return probe.products(probe.merge([probe.run(run, unit) for unit in units])).swapaxes(0, 1)


def plan_values(products: Products, model: LoadedModel, layers: list[str]) -> Samples:
    """Loss of plans (bits, halves, ways): from cells alone, with pairs of four standard errors, with all pairs of a block."""
    samples = products.astype(np.float64).transpose(2, 3, 1, 0)
    block = np.array([model.block_of(name) for name in layers])
    first, second = np.triu_indices(len(layers), 1)
    pairs = np.stack((first, second), axis=1)[block[first] == block[second]]
    shapes = [(model.linears[name].out_features, model.linears[name].in_features) for name in layers]
    sizes = np.array([[fmt.size_bits(shape) for fmt in FORMATS] for shape in shapes])
    weights, random, ways = sum(rows * columns for rows, columns in shapes), np.random.default_rng(0), (None, 4.0, 0.0)
    values = np.zeros((len(BITS), HALVES, len(ways)))
    for half in range(HALVES):
        order = random.permutation(SEQUENCES)
        chosen_by, valued_by = (samples[order[part::2]].reshape(-1, *samples.shape[2:]) for part in (0, 1))
        halves = Halves(chosen_by, valued_by, sizes, pairs)
        values[:, half] = [[halves.value(int(bits * weights), way) for way in ways] for bits in BITS]
    return values


@pytest.mark.benchmark
@pytest.mark.real
def test_cross_terms_do_not_choose_better_plans(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some two minutes of processor time: the built-in English text in sequences of 32 tokens, four draws."""
    model = load_model(describe(str(smollm2)))
    layers = [name for name in model.linears if model.block_of(name) is not None]
    products = measured(model, layers)
    values = plan_values(products, model, layers)
    with capsys.disabled():
        for fmt, of_format in zip(FORMATS, products, strict=True):
            together = cross_terms([of_format])
            alone = together.total - together.loss
            share, error = together.loss / alone, together.standard_error / alone
            print(f"{fmt.name} everywhere: cross terms are {share:+.3f} ± {error:.3f} of the sum of cells")  # noqa: T201
        for bits, table in zip(BITS, values, strict=True):
            change = table[:, 1:] / table[:, :1] - 1
            mean, error = change.mean(axis=0), change.std(axis=0, ddof=1) / np.sqrt(HALVES)
            sure, every = (f"{m:+.4f} ± {e:.4f}" for m, e in zip(mean, error, strict=True))
            print(f"{bits} bits, loss of the plan: {sure} with pairs of 4 standard errors, {every} with all pairs")  # noqa: T201
    assert (values[..., 2] > values[..., 0]).mean() > 0.5
