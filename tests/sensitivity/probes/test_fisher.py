"""The sampled Fisher against the exact one (the vocabulary enumerated), plain autograd, and itself in other groupings."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel
from sensitivity.next_token import hidden_states
from sensitivity.probes.base import Unit
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.label_scores import draw_labels, uniforms
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.score_products import ScoreProducts
from sensitivity.statistics import CellStatus, cell_status, mean_and_error
from tests.sensitivity.probes.dense import (
    FORMATS,
    NARROW_ONLY,
    doubled,
    exact_fisher,
    label_products,
    log_probabilities,
    make_run,
    random_tokens,
    run_all,
    run_grouped,
)

FLOAT32 = Fisher(arithmetic="float32")


def drawn_labels(model: LoadedModel, tokens: torch.Tensor, *, seed: int) -> torch.Tensor:
    """The labels of one draw, by inversion in float64 with numpy."""
    with torch.no_grad():
        distribution = log_probabilities(doubled(model), tokens).exp().cumsum(-1).numpy()
    uniform = uniforms(seed=seed, sequences=tuple(range(len(tokens))), draws=1, length=tokens.shape[1])[0].numpy()
    labels = (distribution < uniform[..., None]).sum(-1).clip(max=distribution.shape[-1] - 1)
    return torch.from_numpy(labels)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "phi3", "mixtral", "qwen2_moe", "granite"])
def test_samples_are_those_of_plain_float64_autograd(load_family: Callable[[str], LoadedModel], family: str) -> None:
    model = load_family(family)
    tokens = random_tokens(3, 12)
    run = make_run(model, tokens)
    found = run_all(FLOAT32, run)
    products = label_products(model, tokens, drawn_labels(model, tokens, seed=run.seed), run)
    samples = 0.5 * np.square(products) / tokens.shape[1]
    reached = cell_status(found) == CellStatus.MEASURED
    assert reached.any()
    scale = samples.sum(axis=0).max()
    np.testing.assert_allclose(found[..., 1], samples.sum(axis=0), rtol=2e-3, atol=1e-7 * scale)
    np.testing.assert_allclose(found[..., 2], np.square(samples).sum(axis=0), rtol=4e-3, atol=1e-7 * scale**2)
    assert not samples.sum(axis=0)[~reached].any()


def test_bfloat16_changes_a_cell_by_less_than_a_hundredth(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(16, 16), formats=FORMATS[:2])
    exact, rounded = (mean_and_error(run_all(probe, run))[0] for probe in (FLOAT32, Fisher()))
    np.testing.assert_allclose(rounded, exact, rtol=0.02)
    assert np.sqrt(np.square(rounded / exact - 1).mean()) < 0.005


def test_the_estimator_is_unbiased_for_the_exact_fisher(llama: LoadedModel) -> None:
    """A z-test of every cell: bounded samples, fixed seed. With a true mean, z is close to standard normal."""
    tokens = random_tokens(48, 10)
    run = make_run(llama, tokens, formats=FORMATS[:2], seed=3)
    mean, error = mean_and_error(run_all(Fisher(arithmetic="float32", draws=16), run))
    exact = exact_fisher(llama, tokens, layers=run.layers, formats=run.formats)
    z = (mean - exact) / error
    assert np.abs(z).max() < 4.0
    assert np.sqrt(np.square(z).mean()) < 1.5
    np.testing.assert_allclose(mean.sum(), exact.sum(), rtol=0.05)


def test_draws_share_one_forward_pass(llama: LoadedModel) -> None:
    calls: list[object] = []
    handle = llama.blocks[0].register_forward_hook(lambda *_: calls.append(None))
    run_all(Fisher(draws=4), make_run(llama, random_tokens(4, 8), formats=FORMATS[:1]))
    handle.remove()
    assert len(calls) == 1


def test_more_draws_shrink_the_error(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(24, 10), formats=FORMATS[:1])
    few, many = (mean_and_error(run_all(Fisher(draws=draws), run))[1] for draws in (1, 8))
    assert np.median(many / few) < 0.6


def test_any_grouping_gives_the_same_statistics(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random_tokens(9, 12)
    run = make_run(llama, tokens)
    whole = run_grouped(FLOAT32, run, [tuple(range(9))])
    for groups in ([(0, 1, 2), (3, 4, 5, 6), (7, 8)], [(8, 0), (4,), (1, 2, 3, 5, 6, 7)]):
        np.testing.assert_allclose(run_grouped(FLOAT32, run, groups), whole, rtol=1e-3, atol=1e-9)
    monkeypatch.setattr("sensitivity.probes.label_products.BATCH_TOKENS", 24)
    monkeypatch.setattr("sensitivity.probes.label_scores.positions_at_once", lambda _module: 5)
    np.testing.assert_allclose(run_grouped(FLOAT32, run, [tuple(range(9))]), whole, rtol=1e-3, atol=1e-9)


def test_a_unit_gives_the_same_bits_again_and_in_a_new_process(llama: LoadedModel) -> None:
    tokens = random_tokens(8, 12)
    unit = Unit("000000", (2, 3, 4))
    first, kept = make_run(llama, tokens), make_run(llama, tokens)
    Fisher().run(kept, Unit("000001", (5, 6)))
    assert np.array_equal(Fisher().run(first, unit), Fisher().run(kept, unit))
    other = make_run(llama, tokens, seed=1)
    assert not np.array_equal(Fisher().run(first, unit), Fisher().run(other, unit))


def test_what_does_not_fit_in_memory_is_rounded_again(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random_tokens(4, 12)
    kept = run_all(Fisher(), make_run(llama, tokens))
    monkeypatch.setattr("sensitivity.probes.rounding_errors.KEPT_BYTES", 0)
    run = make_run(llama, tokens)
    assert np.array_equal(run_all(Fisher(), run), kept)


def test_units_cover_every_sequence_once() -> None:
    units = Fisher().units(blocks=2, sequences=21)
    assert [index for unit in units for index in unit.indices] == list(range(21))
    assert [unit.key for unit in units] == sorted({unit.key for unit in units})


def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel) -> None:
    tokens = random_tokens(20, 3)
    run = make_run(mixture, tokens, formats=FORMATS[:2])
    found = run_all(FLOAT32, run)
    last = np.array([".experts.4." in name for name in run.layers])
    assert set(cell_status(found)[last].flat) == {CellStatus.NO_TOKENS}
    assert set(cell_status(found)[~last].flat) == {CellStatus.MEASURED}


def test_an_expert_that_few_sequences_reach_is_unbiased(mixture: LoadedModel) -> None:
    """Sequences that do not reach it count as zeros, also where a whole unit does not."""
    tokens = random_tokens(30, 2, seed=5)
    expert = [name for name in mixture.linears if ".experts.1." in name]
    run = make_run(mixture, tokens, formats=FORMATS[:1], layers=expert)
    probe = Fisher(arithmetic="float32", draws=8)
    partly = probe.run(run, Unit("000000", tuple(range(30))))[..., 0]
    assert (partly < 30).all()
    mean, error = mean_and_error(run_grouped(probe, run, [(s, s + 1) for s in range(0, 30, 2)]))
    exact = exact_fisher(mixture, tokens, layers=expert, formats=run.formats)
    assert np.abs((mean - exact) / error).max() < 4.0
    np.testing.assert_allclose(mean.sum(), exact.sum(), rtol=0.2)


def test_an_all_zero_layer_has_loss_zero(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    found = run_all(Fisher(), make_run(llama, random_tokens(4, 8), layers=[name]))
    mean, _ = mean_and_error(found)
    assert not mean.any()
    assert set(cell_status(found).flat) == {CellStatus.MEASURED}


def test_weights_that_the_format_keeps_have_loss_zero(llama: LoadedModel) -> None:
    found = run_all(Fisher(), make_run(llama, random_tokens(4, 8), formats=[get_format("BF16")]))
    assert not mean_and_error(found)[0].any()


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(4, 8), formats=[NARROW_ONLY, *FORMATS])
    found = run_all(FLOAT32, run)
    refused = np.array([[llama.linears[name].in_features > 32, False, False, False] for name in run.layers])
    assert refused.any()
    assert np.array_equal(found[..., 0] == 0, refused)
    np.testing.assert_allclose(found[:, 1:], run_all(FLOAT32, make_run(llama, run.tokens)), rtol=1e-3, atol=1e-12)


def test_the_model_is_left_as_it_was(llama: LoadedModel) -> None:
    tokens = random_tokens(4, 8)
    with torch.no_grad():
        before = log_probabilities(llama, tokens)
    run_all(Fisher(draws=2), make_run(llama, tokens))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.module.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in llama.module.parameters())
    with torch.no_grad():
        assert torch.equal(log_probabilities(llama, tokens), before)


def test_nothing_of_a_batch_stays_in_memory(llama: LoadedModel) -> None:
    """Hooks of the graph hold the products and the products' cache could hold the graph: a cycle that Python cannot see."""
    run = make_run(llama, random_tokens(2, 8))
    errors = RoundingErrors.of(run, "float32")
    with ScoreProducts(run, errors, sequences=2, draws=1) as scores, torch.enable_grad():
        hidden_states(llama.module, random_tokens(2, 8)).sum().backward()  # type: ignore[no-untyped-call]
    left = weakref.ref(scores)
    del scores
    gc.collect()
    assert left() is None


def test_labels_follow_the_distribution() -> None:
    probabilities = torch.tensor([[0.5, 0.0, 0.3, 0.2]])
    uniform = torch.rand((20_000, 1), generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(draw_labels(probabilities, uniform).flatten(), minlength=4) / 20_000
    torch.testing.assert_close(shares, probabilities[0], atol=0.015, rtol=0)
    assert shares[1] == 0
    edge = torch.tensor([[0.0], [np.nextafter(np.float32(1), np.float32(0))]])
    assert draw_labels(probabilities, edge).flatten().tolist() == [0, 3]


def test_labels_do_not_depend_on_the_grouping() -> None:
    both = uniforms(seed=7, sequences=(3, 5), draws=2, length=4)
    assert torch.equal(both[:, 1], uniforms(seed=7, sequences=(5,), draws=2, length=4)[:, 0])
    assert not torch.equal(both[:, 0], both[:, 1])
