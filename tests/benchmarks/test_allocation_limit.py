"""How much a better allocation can still gain over a plain `fisher` plan, on SmolLM2-135M: a bound on what to hope for.

Two things are missing in a plain plan: its cells have an error of a fifth, and it knows nothing of what layers do together. Both
are priced here. The price of the error is the loss of plans from cells with that error, under the true ones. For the other, the
change of the last hidden states that each cell makes alone is projected on directions drawn from the model's own predictions:
products of these sketches are the cross terms of the Gauss-Newton form, without the noise of labels that are drawn for whole
sequences. What two sequences agree on is how large cross terms truly are; plans that know all cross terms of that size,
drawn at random, are the most that knowing them could give.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import solvers
from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.next_token import hidden_states, next_token_logits, output_head
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.lockstep import last_hidden
from sensitivity.probes.single_changes import walks
from sensitivity.probes.weight_changes import weight_changes
from sensitivity.tokens import cut
from tests.benchmarks.tied_groups import tied_groups

FORMATS = [get_format(f"INT{bits}_G64") for bits in (3, 4, 6, 8)]
SEQUENCES, LENGTH, LABELS = (0, 12), 256, 48
BUDGETS = (4.25, 4.75, 5.25, 6.25)
DRAWS = 48  # samples behind a plain cell
REPEATS, INSTANCES = 8, 3
Table = NDArray[np.float64]


@torch.no_grad()
def directions(model: LoadedModel, hidden: Tensor) -> Tensor:
    """(tokens, hidden, labels): ``(w_y − Σ p w) / √labels`` of labels y drawn from the model; squares add up to 2 KL."""
    weight: Tensor = output_head(model.module).weight  # type: ignore[assignment]
    probabilities = next_token_logits(model.module, hidden).softmax(dim=-1)
    labels = torch.multinomial(probabilities, LABELS, replacement=True, generator=torch.Generator().manual_seed(0))
    drawn: Tensor = weight[labels] - (probabilities @ weight)[:, None]
    scaled: Tensor = drawn.transpose(1, 2) / math.sqrt(LABELS)
    return scaled.contiguous()


@torch.no_grad()
def sketches(run: ProbeRun, sequence: int) -> NDArray[np.float32]:
    """(layers, formats, tokens · labels): half the mean square over tokens is the KL of a cell, to second order."""
    model = run.model
    basis = directions(model, hidden_states(model.module, run.calibration_tokens[sequence : sequence + 1])[0])
    found = np.zeros((len(run.layers), len(run.formats), LENGTH * LABELS), dtype=np.float32)
    (walk,) = walks(run, [sequence])
    for block in range(len(model.blocks)):
        cells = weight_changes(run, run.layers_of_block(block), "bfloat16")
        walk.to(block)
        (ends,) = last_hidden([walk], list(cells.values()), torch.bfloat16)
        for cell, states in zip(cells, ends.variants, strict=True):
            if states is not None:
                found[cell] = torch.einsum("th,thn->tn", states - ends.reference, basis).flatten().numpy()
    return found


def gram(sketch: NDArray[np.float32]) -> Table:
    """Halved mean products of all cells, (layers · formats) squared."""
    flat = sketch.reshape(-1, sketch.shape[-1])
    return (flat @ flat.T).astype(np.float64) / (2 * LENGTH)


def true_spread(grams: list[Table], layers: int) -> float:
    """Root mean square of the correlations between cells of different layers that both sequences show."""
    first, second = (g / np.sqrt(np.outer(np.diag(g), np.diag(g))) for g in grams)
    of_layer = np.arange(len(first)) // (len(first) // layers)
    apart = of_layer[:, None] != of_layer[None, :]
    return float(np.sqrt(max(np.mean(first[apart] * second[apart]), 0.0)))


class Allocations:
    """Plans from one table of losses, layers of a group merged."""

    def __init__(self, loss: Table, sizes: NDArray[np.int64], group: NDArray[np.int64]) -> None:
        groups = int(group.max()) + 1
        self.loss, self.group = np.zeros((groups, loss.shape[1])), group
        self.sizes = np.zeros(self.loss.shape, dtype=np.int64)
        np.add.at(self.loss, group, loss)
        np.add.at(self.sizes, group, sizes)
        self.layer_loss = loss

    def regret(self, budget: int, random: np.random.Generator) -> float:
        """Loss of plans from cells with the error of so many squared normal samples, relative to the plan from the true ones."""
        rows = np.arange(len(self.loss))
        best = self.loss[rows, self._solve(self.loss, budget)].sum()
        found = []
        for _ in range(REPEATS):
            noisy = np.zeros_like(self.loss)
            error = np.square(random.standard_normal((*self.layer_loss.shape, DRAWS))).mean(axis=-1)
            np.add.at(noisy, self.group, self.layer_loss * error)
            found.append(self.loss[rows, self._solve(noisy, budget)].sum() / best)
        return float(np.mean(found))

    def with_cross_terms(self, budget: int, spread: float, random: np.random.Generator) -> float:
        """Loss of the best plan that knows all cross terms of this spread, relative to the plan from the cells alone.

        Means over draws of the cross terms: those of the plan that does not know them are nothing on average.
        """
        alone = self.loss[np.arange(len(self.loss)), self._solve(self.loss, budget)].sum()
        return float(np.mean([self._together(budget, spread, random) for _ in range(INSTANCES)]) / alone)

    def _together(self, budget: int, spread: float, random: np.random.Generator) -> float:
        dimensions = round(1 / spread**2)
        factors = random.standard_normal((dimensions, *self.loss.shape))
        factors *= np.sqrt(self.loss) / np.linalg.norm(factors, axis=0)
        flat = factors.reshape(dimensions, -1)
        values, vectors = np.linalg.eigh(flat.T @ flat)
        kept = values > values[-1] * 1e-12
        rooted = (vectors[:, kept] * np.sqrt(values[kept])).T.reshape(-1, *self.loss.shape)
        interaction = solvers.Gram(rooted, np.ones(len(rooted)))
        problem = solvers.Problem(np.zeros_like(self.loss), self.sizes[None], np.array([budget]), (), interaction)
        return solvers.solve(problem, solvers.Interaction(max_bound_steps=20, max_nodes=0)).loss

    def _solve(self, loss: Table, budget: int) -> NDArray[np.int64]:
        return solvers.solve(solvers.Problem(loss, self.sizes[None], np.array([budget])), solvers.Mckp()).choice


@pytest.mark.benchmark
@pytest.mark.real
def test_what_an_allocation_can_still_gain(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some five minutes of processor time: 840 cells on two sequences of the built-in English text."""
    description = describe(str(smollm2))
    model = load_model(description)
    layers = [layer for layer in description.layers if layer.block is not None]
    tokens = cut(read_text("builtin")[0], model.tokenizer, CalibrationSpec()).calibration
    run = ProbeRun(model, [layer.name for layer in layers], FORMATS, "rtn", tokens, seed=0)
    grams = [gram(sketches(run, sequence)) for sequence in SEQUENCES]
    spread = true_spread(grams, len(layers))
    loss = np.mean([np.diag(g).reshape(len(layers), len(FORMATS)) for g in grams], axis=0)
    sizes = np.array([[fmt.size_bits(layer.shape) for fmt in FORMATS] for layer in layers])
    weights = sum(layer.parameters for layer in layers)
    groups = {"tied": tied_groups(layers), "free": np.arange(len(layers))}
    limits = {}
    with capsys.disabled():
        print(f"\ncorrelation between cells of different layers: {spread:.3f} rms")  # noqa: T201
        for way, group in groups.items():
            allocations = Allocations(loss, sizes, group)
            for bits in BUDGETS:
                random, budget = np.random.default_rng(0), int(bits * weights)
                regret = allocations.regret(budget, random)
                together = allocations.with_cross_terms(budget, spread, random)
                limits[way, bits] = together / regret
                text = f"{way} {bits} bits: an error of a fifth costs {regret - 1:.1%}, all cross terms give {1 - together:.1%}"
                print(f"{text}; best ÷ plain plan {together / regret:.3f}")  # noqa: T201
    assert limits["tied", 4.75] > 0.92
