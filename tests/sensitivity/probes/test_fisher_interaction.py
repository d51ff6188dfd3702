"""Cells equal to those of `fisher`, cross terms against the exact Fisher matrix, and products that merge in any grouping."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from sensitivity.cross_terms import cross_terms
from sensitivity.errors import CalibrationError, TooManyProductsError
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.fisher_interaction import FisherInteraction
from sensitivity.statistics import mean_and_error
from tests.sensitivity.probes.dense import (
    FORMATS,
    NARROW_ONLY,
    doubled,
    log_probabilities,
    make_run,
    random_tokens,
    rounding_error,
    run_all,
)

FLOAT32 = FisherInteraction(arithmetic="float32")


def merged(probe: FisherInteraction, run: ProbeRun, *groups: tuple[int, ...]) -> np.ndarray:
    return probe.merge([probe.run(run, Unit(str(i), group)) for i, group in enumerate(groups)])


class ExactTotals:
    """``½ Σ_y p(y) (d log p(y) / dε)²`` along ``W + ε ΔW`` of several layers at once in float64, mean per token."""

    @torch.no_grad()
    def __init__(self, model: LoadedModel, tokens: torch.Tensor, layers: Sequence[str]) -> None:
        self.reference, self.tokens = doubled(model), tokens
        self.weights = [self.reference.linears[layer].weight for layer in layers]
        self.errors = [rounding_error(model, layer, FORMATS[0]) for layer in layers]
        self.probabilities = log_probabilities(self.reference, tokens).exp()

    @torch.no_grad()
    def __call__(self, chosen: Sequence[int]) -> float:
        step = 1e-5
        slope = (self._moved(chosen, step) - self._moved(chosen, -step)) / (2 * step)
        return 0.5 * float((self.probabilities * slope.square()).sum(-1).mean())

    def _moved(self, chosen: Sequence[int], far: float) -> torch.Tensor:
        for i in chosen:
            self.weights[i] += far * self.errors[i]
        found = log_probabilities(self.reference, self.tokens)
        for i in chosen:
            self.weights[i] -= far * self.errors[i]
        return found


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_cells_are_those_of_fisher(load_family: Callable[[str], LoadedModel], family: str) -> None:
    run = make_run(load_family(family), random_tokens(11, 8), formats=[NARROW_ONLY, *FORMATS[:2]])
    probe = FisherInteraction(draws=2)
    whole = merged(probe, run, tuple(range(8)), (8, 9, 10))
    cells = probe.completed(whole, sequences=11)
    assert np.array_equal(cells, run_all(Fisher(draws=2), run))
    products = probe.products(whole)
    refused = cells[..., 0] == 0
    assert products.shape == (len(run.layers), 3, 11, 2)
    stored = np.array([[k in run.storable(name) for k in range(3)] for name in run.layers])
    assert np.array_equal(np.isfinite(products).all(axis=(2, 3)), stored)
    squares = np.square(products.astype(float)).mean(axis=(2, 3))
    np.testing.assert_allclose(squares[~refused], mean_and_error(cells)[0][~refused], rtol=1e-6)


def test_products_do_not_depend_on_the_grouping(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(llama, random_tokens(6, 8))
    whole = merged(FLOAT32, run, tuple(range(6)))
    monkeypatch.setattr("sensitivity.probes.label_products.BATCH_TOKENS", 16)
    parts = merged(FLOAT32, run, (0, 1, 2), (3,), (4, 5))
    scale = np.abs(FLOAT32.products(whole)).max()
    np.testing.assert_allclose(FLOAT32.products(parts), FLOAT32.products(whole), atol=1e-5 * scale)


def test_totals_are_those_of_the_fisher_matrix_of_all_layers(llama: LoadedModel) -> None:
    """The whole model, and the two layers that make each other worse, and better, by the largest share."""
    tokens = random_tokens(24, 8)
    run = make_run(llama, tokens, formats=FORMATS[:1], seed=3)
    probe = FisherInteraction(draws=64, arithmetic="float32")
    products = probe.products(merged(probe, run, tuple(range(24))))[:, 0]
    body = list(range(len(run.layers) - 1))
    exact = ExactTotals(llama, tokens, run.layers)
    alone = [exact([i]) for i in body]
    pairs = {pair: exact(pair) for pair in itertools.combinations(body, 2)}
    shares = {(i, j): total / (alone[i] + alone[j]) - 1 for (i, j), total in pairs.items()}
    worse, better = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    assert shares[worse] > 0.07
    assert shares[better] < -0.07
    for chosen in (worse, better, tuple(body)):
        found, total = cross_terms([products[list(chosen)]]), exact(chosen)
        assert found.total == pytest.approx(total, rel=0.1)
        assert found.loss == pytest.approx(total - sum(alone[i] for i in chosen), abs=0.05 * total)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_an_assignment_is_summed_as_all_its_pairs(rng: np.random.Generator) -> None:
    products = rng.normal(size=(5, 7, 3)).astype(np.float32)
    found = cross_terms([products[:2], products[2:]])
    wide = products.astype(float)
    pairs = sum(2 * (wide[i] * wide[j]).mean() for i, j in itertools.combinations(range(5), 2))
    assert found.loss == pytest.approx(pairs)
    assert found.total == pytest.approx(pairs + np.square(wide).mean(axis=(1, 2)).sum())
    samples = np.square(wide.sum(axis=0)).mean(axis=-1)
    assert found.total_error == pytest.approx(samples.std(ddof=1) / np.sqrt(7))


def test_one_sequence_says_nothing_of_the_error(rng: np.random.Generator) -> None:
    found = cross_terms([rng.normal(size=(3, 1, 4)).astype(np.float32)])
    assert np.isnan([found.standard_error, found.total_error]).all()
    assert np.isfinite([found.loss, found.total]).all()


def test_too_many_products_are_refused_before_the_first_pass(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensitivity.cross_terms.LARGEST_BYTES", 1000)
    with pytest.raises(TooManyProductsError, match="15 layers × 3 formats × 4 sequences × 4 draws are 2,880 bytes"):
        FLOAT32.run(make_run(llama, random_tokens(4, 8)), Unit("000000", (0,)))


def test_text_is_needed(llama: LoadedModel) -> None:
    with pytest.raises(CalibrationError, match="calibration set"):
        FLOAT32.run(make_run(llama, None), Unit("000000", (0,)))
