"""The trace against explicit float64 Hessians of the KL, plain autograd with the same signs, and itself in other groupings."""

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.next_token import hidden_states
from sensitivity.probes.base import Unit
from sensitivity.probes.hessian_trace import HessianTrace
from sensitivity.probes.output_signs import packed_signs
from sensitivity.probes.score_norms import ScoreNorms, squared_norms
from sensitivity.statistics import CellStatus, cell_status, mean_and_error, observe
from tests.sensitivity.probes.dense import (
    FORMATS,
    NARROW_ONLY,
    doubled,
    log_probabilities,
    make_run,
    random_tokens,
    rounding_error,
    run_all,
    run_grouped,
)
from tests.tiny_models import tiny_llama

FORMAT = get_format("INT4_CHANNEL")


@pytest.fixture
def narrow(tmp_path: Path) -> LoadedModel:
    """Layers so small that their Hessians can be written out."""
    return load_model(describe(str(tiny_llama(tmp_path / "llama", hidden=16, ffn=16, heads=2, kv_heads=1))))


def explicit_hessian(model: LoadedModel, tokens: torch.Tensor, layer: str) -> torch.Tensor:
    """Of the KL to the reference in one layer's weight, mean per token, by differentiating twice: float64 (n, n)."""
    reference = doubled(model)
    reference.module.set_attn_implementation("eager")  # type: ignore[operator]
    weight = reference.linears[layer].weight.requires_grad_()
    found = log_probabilities(reference, tokens)
    expected = found.detach()
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    (gradient,) = torch.autograd.grad(divergence, weight, create_graph=True)
    assert gradient.abs().max() < 1e-12
    rows = torch.eye(weight.numel(), dtype=torch.float64).reshape(-1, *weight.shape)
    parts = [
        torch.autograd.grad(gradient, weight, part, is_grads_batched=True, retain_graph=True)[0] for part in torch.split(rows, 64)
    ]
    return torch.cat(parts).reshape(weight.numel(), -1)


def signed_traces(model: LoadedModel, tokens: torch.Tensor, layers: Sequence[str], *, seed: int) -> np.ndarray:
    """``‖Σ_t ∇_W ⟨v_t, logits⟩‖² / T`` by plain float64 autograd, one sequence at a time: (sequences, layers)."""
    reference = doubled(model)
    weights = [reference.linears[name].weight.requires_grad_() for name in layers]
    result = np.zeros((len(tokens), len(layers)))
    for s, sequence in enumerate(tokens):
        logits = reference.module(sequence[None], use_cache=False).logits[0]
        length, vocabulary = logits.shape
        packed = packed_signs(seed=seed, sequence=s, draws=1, length=length, vocabulary=vocabulary)[0]
        signs = torch.from_numpy(np.unpackbits(packed, axis=-1)[:, :vocabulary].astype(np.float64) * 2 - 1)
        scores = logits.log_softmax(-1)  # the gradient of Σ √p_i r_i log p_i at the logits, √p held fixed, is v
        gradients = torch.autograd.grad((signs * (0.5 * scores.detach()).exp() * scores).sum(), weights, allow_unused=True)
        result[s] = [0.0 if gradient is None else float(gradient.square().sum()) / length for gradient in gradients]
    return result


def energies(model: LoadedModel, layers: Sequence[str]) -> np.ndarray:
    """``‖ΔW‖² / n`` in every format: (layers, formats)."""
    return np.array([[float(rounding_error(model, name, fmt).square().mean()) for fmt in FORMATS] for name in layers])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "opt", "phi3", "mixtral", "qwen2_moe", "granite"])
def test_samples_are_those_of_plain_float64_autograd(load_family: Callable[[str], LoadedModel], family: str) -> None:
    """The head aside, whose trace is not sampled."""
    model = load_family(family)
    tokens = random_tokens(3, 12)
    layers = [name for name in model.linears if model.block_of(name) is not None]
    found = run_all(HessianTrace(), make_run(model, tokens, layers=layers))
    samples = 0.5 * signed_traces(model, tokens, layers, seed=0)[..., None] * energies(model, layers)
    np.testing.assert_allclose(found[..., 1], samples.sum(axis=0), rtol=2e-3, atol=1e-7 * samples.max())
    np.testing.assert_allclose(found[..., 2], np.square(samples).sum(axis=0), rtol=4e-3, atol=1e-7 * samples.max() ** 2)
    reached = cell_status(found) == CellStatus.MEASURED
    assert reached.any()
    assert not samples.sum(axis=0)[~reached].any()


def test_the_estimator_is_unbiased_for_the_explicit_hessian(narrow: LoadedModel) -> None:
    """Many draws for one text: what is left is the noise of the signs. A z-test of every layer."""
    tokens = random_tokens(2, 6)
    run = make_run(narrow, tokens, formats=[FORMAT])
    runs = [make_run(narrow, tokens, seed=seed) for seed in range(250)]
    traces = np.stack([HessianTrace().traces(one, (0, 1))[0].mean(axis=0) for one in runs])
    mean, error = mean_and_error(observe(traces))
    exact = np.array([float(explicit_hessian(narrow, tokens, name).trace()) for name in run.layers])
    body = np.array([narrow.block_of(name) is not None for name in run.layers])
    z = (mean - exact)[body] / error[body]
    assert np.abs(z).max() < 4.0
    assert 0.3 < np.sqrt(np.square(z).mean()) < 1.8
    np.testing.assert_allclose(mean, exact, rtol=0.15)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_the_trace_of_the_head_is_exact(llama: LoadedModel, cap: float | None) -> None:
    """With logits ``f(W h)``, a position's Hessian is that of the KL in ``W h`` (written out) times ``h hᵀ``."""
    llama.module.config.final_logit_softcapping = cap  # type: ignore[union-attr]
    tokens = random_tokens(2, 5)
    found = HessianTrace().traces(make_run(llama, tokens, layers=["lm_head"]), (0, 1))[0][:, 0]
    reference = doubled(llama)

    def log_probabilities_of(product: torch.Tensor) -> torch.Tensor:
        return (product if cap is None else cap * torch.tanh(product / cap)).log_softmax(-1)

    def trace(state: torch.Tensor) -> float:
        product = reference.linears["lm_head"].weight @ state
        expected = log_probabilities_of(product)

        def divergence(changed: torch.Tensor) -> torch.Tensor:
            return (expected.exp() * (expected - log_probabilities_of(changed))).sum()

        hessian = torch.autograd.functional.hessian(divergence, product)  # type: ignore[no-untyped-call]
        return float(hessian.trace() * state.square().sum())

    with torch.no_grad():
        hidden = hidden_states(reference.module, tokens)
    np.testing.assert_allclose(found, [np.mean([trace(state) for state in states]) for states in hidden], rtol=1e-4)


def test_a_cell_is_half_the_mean_curvature_times_the_squared_error(narrow: LoadedModel) -> None:
    """What ``½ ΔWᵀ H ΔW`` is on the average over directions of this norm."""
    tokens = random_tokens(16, 6)
    layer = "model.layers.0.mlp.up_proj"
    run = make_run(narrow, tokens, formats=[FORMAT], layers=[layer])
    mean = mean_and_error(run_all(HessianTrace(draws=40), run))[0][0, 0]
    hessian = explicit_hessian(narrow, tokens, layer)
    size = rounding_error(narrow, layer, FORMAT).norm()
    directions = torch.randn((4000, len(hessian)), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions *= size / directions.norm(dim=1, keepdim=True)
    forms = 0.5 * ((directions @ hessian) * directions).sum(dim=1)
    np.testing.assert_allclose(mean, float(forms.mean()), rtol=0.05)


def test_more_draws_shrink_the_error(llama: LoadedModel) -> None:
    """On copies of one sequence, where nothing but the signs differs."""
    run = make_run(llama, random_tokens(1, 10).repeat(24, 1), formats=FORMATS[:1])
    few, many = (mean_and_error(run_all(HessianTrace(draws=draws), run))[1][:-1] for draws in (1, 8))
    assert np.median(many / few) < 0.5


@given(
    rows=st.integers(1, 30),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    sequences=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_both_products_give_the_norm(rows: int, width: int, height: int, sequences: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn((sequences, rows, width), generator=generator)
    gradients = torch.randn((sequences, rows, height), generator=generator)
    expected = [float((d.double().T @ x.double()).square().sum()) for x, d in zip(inputs, gradients, strict=True)]
    np.testing.assert_allclose(squared_norms(inputs, gradients), expected, rtol=1e-4)


def test_any_grouping_gives_the_same_statistics(mixture: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(mixture, random_tokens(9, 4))
    whole = run_grouped(HessianTrace(), run, [tuple(range(9))])
    for groups in ([(0, 1, 2), (3, 4, 5, 6), (7, 8)], [(8, 0), (4,), (1, 2, 3, 5, 6, 7)]):
        np.testing.assert_allclose(run_grouped(HessianTrace(), run, groups), whole, rtol=1e-3, atol=1e-9)
    monkeypatch.setattr("sensitivity.probes.hessian_trace.BATCH_TOKENS", 8)
    monkeypatch.setattr("sensitivity.probes.output_signs.positions_at_once", lambda _module: 3)
    np.testing.assert_allclose(run_grouped(HessianTrace(), run, [tuple(range(9))]), whole, rtol=1e-3, atol=1e-9)


def test_a_unit_gives_the_same_bits_whatever_was_run_before(llama: LoadedModel) -> None:
    tokens = random_tokens(8, 12)
    unit = Unit("000000", (2, 3, 4))
    first, kept = make_run(llama, tokens), make_run(llama, tokens)
    HessianTrace().run(kept, Unit("000001", (5, 6)))
    assert np.array_equal(HessianTrace().run(first, unit), HessianTrace().run(kept, unit))
    assert not np.array_equal(HessianTrace().run(first, unit), HessianTrace().run(make_run(llama, tokens, seed=1), unit))
    few = make_run(llama, tokens, layers=list(llama.linears)[3:5], formats=FORMATS[1:2])
    assert np.array_equal(HessianTrace().run(few, unit), HessianTrace().run(first, unit)[3:5, 1:2])


def test_units_cover_every_sequence_once() -> None:
    units = HessianTrace().units(blocks=2, sequences=21)
    assert [index for unit in units for index in unit.indices] == list(range(21))
    assert [unit.key for unit in units] == sorted({unit.key for unit in units})


def test_signs_depend_on_sequence_and_draw_alone() -> None:
    both = packed_signs(seed=7, sequence=3, draws=2, length=4, vocabulary=20)
    assert both.shape == (2, 4, 3)
    assert np.array_equal(both[:1], packed_signs(seed=7, sequence=3, draws=1, length=4, vocabulary=20))
    assert not np.array_equal(both, packed_signs(seed=7, sequence=4, draws=2, length=4, vocabulary=20))
    many = np.unpackbits(packed_signs(seed=0, sequence=0, draws=1, length=100, vocabulary=800))
    assert abs(many.mean() - 0.5) < 4 * 0.5 / np.sqrt(many.size)


def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel) -> None:
    """A sequence that misses an expert counts as zero."""
    tokens = random_tokens(20, 3)
    run = make_run(mixture, tokens, formats=FORMATS[:2])
    found = run_all(HessianTrace(), run)
    last = np.array([".experts.4." in name for name in run.layers])
    assert set(cell_status(found)[last].flat) == {CellStatus.NO_TOKENS}
    assert (found[~last][..., 0] == 20).all()
    assert (HessianTrace().run(run, Unit("", tuple(range(20))))[~last][..., 0] < 20).any()


def test_what_does_not_change_has_loss_zero(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    found = run_all(HessianTrace(), make_run(llama, random_tokens(4, 8)))
    assert set(cell_status(found).flat) == {CellStatus.MEASURED}
    assert not found[0, :, 1:].any()
    assert not found[:, FORMATS.index(get_format("BF16")), 1:].any()
    assert (found[2:, :2, 1] > 0).all()  # without queries, keys do not matter


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(4, 8), formats=[NARROW_ONLY, *FORMATS])
    found = run_all(HessianTrace(), run)
    refused = np.array([[llama.linears[name].in_features > 32, False, False, False] for name in run.layers])
    assert refused.any()
    assert np.array_equal(found[..., 0] == 0, refused)
    assert np.array_equal(found[:, 1:], run_all(HessianTrace(), make_run(llama, run.tokens)))


def test_nothing_of_a_batch_stays_in_memory(llama: LoadedModel) -> None:
    with ScoreNorms(llama.module, list(llama.linears.values()), sequences=2) as norms, torch.enable_grad():
        hidden_states(llama.module, random_tokens(2, 8)).sum().backward()  # type: ignore[no-untyped-call]
    left = weakref.ref(norms)
    del norms
    gc.collect()
    assert left() is None
