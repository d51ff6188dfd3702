"""Shares that add up to the KL of the uniform model, and the link on top."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sensitivity.evaluation import evaluate, summarise
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import Unit
from sensitivity.probes.coverage import Coverage
from sensitivity.statistics import mean_and_error
from tests.sensitivity.probes.dense import (
    FORMATS,
    NARROW_ONLY,
    doubled,
    log_probabilities,
    make_run,
    random_tokens,
    rounding_error,
)

SHARES = Coverage(arithmetic="float32", nodes=4)
TWO = FORMATS[:2]


def dense_shares(model: LoadedModel, tokens: torch.Tensor, k: int, nodes: int) -> np.ndarray:
    """The integral by the same rule in float64, with plain autograd."""
    reference, moving = doubled(model), doubled(model)
    expected = log_probabilities(reference, tokens).detach()
    errors = {name: rounding_error(model, name, TWO[k]) for name in model.linears}
    places, weights = np.polynomial.legendre.leggauss(nodes)
    shares = np.zeros(len(errors))
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        for name, linear in moving.linears.items():
            linear.weight = torch.nn.Parameter(reference.linears[name].weight + place * errors[name])
        kl = (expected.exp() * (expected - log_probabilities(moving, tokens))).sum(-1).mean()
        gradients = torch.autograd.grad(kl, [linear.weight for linear in moving.linears.values()])
        pairs = zip(gradients, errors.values(), strict=True)
        shares += weight * np.array([float((gradient * error).sum()) for gradient, error in pairs])
    return shares


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shares_are_those_of_plain_autograd(load_family: Callable[[str], LoadedModel], family: str) -> None:
    model, tokens = load_family(family), random_tokens(3, 8)
    run = make_run(model, tokens, formats=TWO)
    merged = SHARES.run(run, Unit("0", (0, 1, 2)))
    found = mean_and_error(merged)[0]
    for k in range(2):
        expected = dense_shares(model, tokens, k, SHARES.nodes)
        np.testing.assert_allclose(found[:, k], expected, atol=1e-4 * np.abs(expected).max())


def test_shares_add_up_to_the_uniform_model(llama: LoadedModel) -> None:
    tokens = random_tokens(4, 8)
    run = make_run(llama, tokens, formats=TWO)
    shares = mean_and_error(Coverage(arithmetic="float32", nodes=8).run(run, Unit("0", (0, 1, 2, 3))))[0]
    for k, fmt in enumerate(TWO):
        measured = summarise(evaluate(llama, [dict.fromkeys(run.layers, fmt)], tokens)[0]).kl
        assert shares[:, k].sum() == pytest.approx(measured, rel=1e-3)


def test_the_link_adds_what_saturation_hides(llama: LoadedModel) -> None:
    """Costs of all layers give back the uniform model's KL through the link, and are more than shares at a low ceiling."""
    run = make_run(llama, random_tokens(4, 8), formats=TWO)
    probe = Coverage(arithmetic="float32", headroom=1.5)
    merged = probe.run(run, Unit("0", (0, 1, 2, 3)))
    shares, errors = mean_and_error(merged)
    costs, scaled = mean_and_error(probe.completed(merged, sequences=4))
    ceiling = 1.5 * shares.sum(axis=0).max()
    np.testing.assert_allclose(ceiling * -np.expm1(-costs.sum(axis=0) / ceiling), shares.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaled / np.abs(costs), errors / np.abs(shares), rtol=1e-6)
    assert costs.sum(axis=0)[0] > 1.2 * shares.sum(axis=0)[0]


def test_units_merge_and_refused_formats_keep_no_sample(load_family: Callable[[str], LoadedModel]) -> None:
    model = load_family("mixtral")
    run = make_run(model, random_tokens(4, 8), formats=[TWO[0], NARROW_ONLY])
    probe = Coverage(arithmetic="float32")
    whole = probe.completed(probe.run(run, Unit("0", (0, 1, 2, 3))), sequences=4)
    parts = probe.completed(probe.merge([probe.run(run, Unit("0", (0, 1))), probe.run(run, Unit("1", (2, 3)))]), sequences=4)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)
    assert all(whole[i, 1, 0] == 0 for i, name in enumerate(run.layers) if 1 not in run.storable(name))


def test_nothing_to_lose_is_no_loss(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(2, 8), formats=[FORMATS[2]])
    found = Coverage().completed(Coverage().run(run, Unit("0", (0, 1))), sequences=2)
    assert np.isfinite(found).all()
    assert np.abs(mean_and_error(found)[0]).max() < 1e-3
