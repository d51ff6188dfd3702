"""Slopes against float64 models with the same noise in one layer, whichever way their units are run."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import AbstractProbe, Unit
from sensitivity.probes.hessian_trace import HessianTrace
from sensitivity.probes.linearity import Linearity
from sensitivity.probes.rounding_energies import squared_errors
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
    run_units,
)
from tests.tiny_models import BUILDERS

FLOAT32 = Linearity(arithmetic="float32")
SMALL = Linearity(levels=1, least=0.02, arithmetic="float32")


def noises(weight: torch.Tensor, squared: Sequence[float], *, seeds: tuple[int, ...]) -> list[torch.Tensor]:
    """Normal matrices of relative squared norm t², float64."""
    generator = np.random.default_rng(seeds)
    drawn = [torch.from_numpy(generator.standard_normal(tuple(weight.shape), dtype=np.float32)).double() for _ in squared]
    return [noise / noise.norm() * weight.norm() * step**0.5 for noise, step in zip(drawn, squared, strict=True)]


@torch.no_grad()
def dense_slopes(model: LoadedModel, tokens: torch.Tensor, layers: Sequence[str], probe: Linearity) -> np.ndarray:
    """Least squares of whole-logit KLs over t² through the origin: float64 (sequences, layers)."""
    reference = doubled(model)
    squared = np.linspace(probe.least**2, probe.most**2, probe.levels)
    result = np.zeros((len(tokens), len(layers)))
    for s, sequence in enumerate(tokens):
        expected = log_probabilities(reference, sequence[None])
        for i, name in enumerate(layers):
            weight = reference.linears[name].weight
            original, found = weight.clone(), []
            for noise in noises(weight, squared.tolist(), seeds=(0, s, zlib.crc32(name.encode()))):
                weight.copy_(original + noise)
                changed = log_probabilities(reference, sequence[None])
                found.append(float((expected.exp() * (expected - changed)).sum(-1).mean()))
                weight.copy_(original)
            result[s, i] = np.linalg.lstsq(squared[:, None], np.array(found), rcond=None)[0][0]
    return result


def relative(model: LoadedModel, layers: Sequence[str]) -> np.ndarray:
    """t² of every cell."""
    weights = [model.linears[name].weight.double().square().sum() for name in layers]
    errors = [[rounding_error(model, name, fmt).square().sum() for fmt in FORMATS] for name in layers]
    return np.array([[float(error / weight) for error in row] for row, weight in zip(errors, weights, strict=True)])


@pytest.mark.parametrize("family", BUILDERS)
def test_cells_are_slopes_of_float64_models_with_noise_in_one_layer(
    load_family: Callable[[str], LoadedModel], family: str
) -> None:
    model = load_family(family)
    tokens = random_tokens(2, 10)
    run = make_run(model, tokens)
    samples = dense_slopes(model, tokens, run.layers, FLOAT32)[..., None] * relative(model, run.layers)
    found = run_all(FLOAT32, run)
    np.testing.assert_allclose(found[..., 1], samples.sum(axis=0), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(found[..., 2], np.square(samples).sum(axis=0), rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_bfloat16_changes_a_cell_by_less_than_a_fiftieth(load_family: Callable[[str], LoadedModel], family: str) -> None:
    run = make_run(load_family(family), random_tokens(4, 20), formats=FORMATS[:1])
    exact, rounded = (mean_and_error(run_all(probe, run))[0] for probe in (FLOAT32, Linearity()))
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


def test_small_noise_measures_the_trace_of_the_hessian(llama: LoadedModel) -> None:
    """``α = ½ (Tr H / n) ‖W‖²`` to second order, so that the cells are those of the probe ``hessian_trace``."""
    tokens = random_tokens(16, 12)
    run = make_run(llama, tokens, formats=FORMATS[:1])
    (mean, error), (expected, noise) = (mean_and_error(run_all(probe, run)) for probe in (SMALL, HessianTrace(draws=32)))
    z = (mean - expected) / np.hypot(error, noise)
    assert np.abs(z).max() < 4.0
    np.testing.assert_allclose(mean.sum(), expected.sum(), rtol=0.1)


def test_noise_averages_out_over_seeds(llama: LoadedModel) -> None:
    """One text, many seeds: unbiased for the curvature of that text, within four standard errors."""
    tokens = random_tokens(1, 8)
    layers = ["model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"]
    runs = [make_run(llama, tokens, layers=layers, formats=FORMATS[:1], seed=seed) for seed in range(60)]
    mean, error = mean_and_error(observe(np.stack([run_all(SMALL, run)[:, 0, 1] for run in runs])))
    expected, noise = mean_and_error(observe(np.stack([run_all(HessianTrace(draws=16), run)[:, 0, 1] for run in runs])))
    assert np.abs((mean - expected) / np.hypot(error, noise)).max() < 4.0
    np.testing.assert_allclose(mean, expected, rtol=0.25)


def test_two_norms_in_the_same_directions_show_how_linear_it_is(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(2, 12), formats=FORMATS[:1])
    slopes = {
        norm: mean_and_error(run_all(Linearity(levels=1, least=norm, arithmetic="float32"), run))[0] for norm in (0.01, 0.02, 1.0)
    }
    np.testing.assert_allclose(slopes[0.02] / slopes[0.01], 1, atol=0.1)
    assert np.abs(slopes[1.0] / slopes[0.01] - 1).max() > 0.2


@given(levels=st.integers(1, 6), least=st.floats(1e-3, 1), most=st.floats(1e-3, 1))
def test_levels_are_evenly_spaced_in_the_squared_norm(levels: int, least: float, most: float) -> None:
    found = Linearity(levels=levels, least=least, most=most).squared_norms
    assert found.shape == (levels,)
    assert found[0] == pytest.approx(least**2)
    if levels > 1:
        assert found[-1] == pytest.approx(most**2)
        np.testing.assert_allclose(np.diff(found), (most**2 - least**2) / (levels - 1), atol=1e-12)


@pytest.mark.parametrize(
    ("family", "probe"),
    [("llama", Linearity(levels=2)), ("llama", Linearity(levels=2, arithmetic="float32")), ("mixtral", SMALL)],
    ids=["llama, bfloat16", "llama, float32", "mixtral, float32"],
)
def test_bits_depend_neither_on_the_order_of_units_nor_on_their_grouping(
    load_family: Callable[[str], LoadedModel], family: str, probe: Linearity
) -> None:
    """Nor on what else is measured: other sequences, layers or formats."""
    model = load_family(family)
    tokens = random_tokens(5, 8)
    run = make_run(model, tokens, formats=FORMATS[:2])
    blocks = len(model.blocks)
    units = probe.units(blocks=blocks, sequences=5)
    together = np.stack([probe.run(run, unit) for unit in units])
    backwards = np.stack([probe.run(run, unit) for unit in reversed(units)])[::-1]
    assert np.array_equal(together, backwards)
    singly = [Unit(f"{s}-{b}", (b, s)) for b in reversed(range(blocks + 1)) for s in (1, 0, 4, 2, 3)]
    fresh = make_run(model, tokens, formats=FORMATS[:2])
    np.testing.assert_allclose(run_units(probe, fresh, singly), together.sum(axis=0), rtol=1e-12)
    few = make_run(model, tokens, layers=run.layers[-2:], formats=FORMATS[1:2])
    assert np.array_equal(run_units(probe, few, units), run_units(probe, run, units)[-2:, 1:2])
    other = make_run(model, tokens, layers=run.layers[-2:], formats=FORMATS[1:2], seed=1)
    assert not np.array_equal(run_units(probe, other, units), run_units(probe, few, units))


def test_units_cover_every_block_and_sequence_once() -> None:
    units = Linearity().units(blocks=2, sequences=9)
    pairs = [(unit.indices[0], s) for unit in units for s in unit.indices[1:]]
    assert sorted(pairs) == [(b, s) for b in range(3) for s in range(9)]
    assert [unit.key for unit in units] == sorted({unit.key for unit in units})


@pytest.mark.parametrize("probe", [SMALL, HessianTrace()], ids=lambda probe: probe.facts.name)
def test_a_rounding_method_with_data_changes_nothing_but_the_errors(llama: LoadedModel, probe: AbstractProbe) -> None:
    """It runs the model, before the probe does; losses of two methods are as their squared errors."""
    tokens = random_tokens(4, 16)
    nearest = make_run(llama, tokens, formats=FORMATS[:2])
    searched = dataclasses.replace(nearest, rounding="gptq", cache={})
    units = probe.units(blocks=len(llama.blocks), sequences=4)
    found, expected = run_units(probe, searched, units[::-1]), run_units(probe, nearest, units)
    ratios = [squared_errors(searched, name) / squared_errors(nearest, name) for name in nearest.layers]
    assert not np.allclose(ratios, 1)
    np.testing.assert_allclose(found[..., 1], expected[..., 1] * ratios, rtol=1e-9)


def test_few_variants_at_a_time_give_the_same_bits(mixture: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a group has no variant whose expert saw a token."""
    run = make_run(mixture, random_tokens(2, 6), formats=FORMATS[:1])
    expected = run_all(Linearity(), run)
    monkeypatch.setattr("sensitivity.probes.single_changes.VARIANT_BYTES", 1)
    assert np.array_equal(run_all(Linearity(), run), expected)


def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel) -> None:
    """A sequence that misses an expert counts as zero."""
    tokens = random_tokens(6, 2)
    run = make_run(mixture, tokens)
    units = FLOAT32.units(blocks=len(mixture.blocks), sequences=6)
    partly = run_units(FLOAT32, run, units)
    found = FLOAT32.completed(partly, sequences=6)
    last = np.array([".experts.4." in name for name in run.layers])
    assert set(cell_status(found)[last].flat) == {CellStatus.NO_TOKENS}
    assert (found[~last][..., 0] == 6).all()
    assert (partly[~last][..., 0] < 6).any()


def test_what_does_not_change_has_loss_zero(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    found = run_all(Linearity(), make_run(llama, random_tokens(2, 8)))
    assert set(cell_status(found).flat) == {CellStatus.MEASURED}
    assert not found[0, :, 1:].any()
    assert not found[:, FORMATS.index(get_format("BF16")), 1:].any()
    assert (found[2:, :2, 1] > 0).all()  # without queries, keys do not matter


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    tokens = random_tokens(2, 8)
    found = run_all(FLOAT32, make_run(llama, tokens, formats=[NARROW_ONLY, *FORMATS]))
    refused = np.array([[linear.in_features > 32, False, False, False] for linear in llama.linears.values()])
    assert np.array_equal(found[..., 0] == 0, refused)
    assert np.array_equal(found[:, 1:], run_all(FLOAT32, make_run(llama, tokens)))
    assert not run_all(FLOAT32, make_run(llama, tokens, layers=["model.layers.0.mlp.down_proj"], formats=[NARROW_ONLY])).any()
