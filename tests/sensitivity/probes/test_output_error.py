"""The output error against an explicit float64 H, whichever way its units are run."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensitivity.loading import LoadedModel
from sensitivity.probes import output_energies
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.probes.output_energies import doubled_off_diagonal, packed_gram
from sensitivity.probes.output_error import OutputError, ratio_statistics
from sensitivity.statistics import CellStatus, cell_status, mean_and_error
from tests.sensitivity.probes.dense import FORMATS, NARROW_ONLY, doubled, make_run, random_tokens, rounding_error, run_all

FLOAT32 = OutputError(arithmetic="float32")


@torch.no_grad()
def dense_energies(model: LoadedModel, tokens: torch.Tensor, run: ProbeRun) -> np.ndarray:
    """``tr(A H_s Aᵀ)`` for A = W and each ΔW, H_s explicit: float64 (sequences, layers, 1 + formats).

    A sequence at a time, so that all rows of any input, gathered or not, are of that sequence.
    """
    reference = doubled(model)
    result = np.zeros((len(tokens), len(run.layers), 1 + len(run.formats)))
    hessians: dict[int, torch.Tensor] = {}

    def observe(index: int, rows: torch.Tensor) -> None:
        flat = rows.reshape(-1, rows.shape[-1])
        hessians[index] = flat.T @ flat

    for index, name in enumerate(run.layers):
        reference.linears[name].register_forward_pre_hook(lambda _, arguments, index=index: observe(index, arguments[0]))
    for s, sequence in enumerate(tokens):
        hessians.clear()
        reference.module(sequence[None], use_cache=False)
        for index, hessian in hessians.items():
            name = run.layers[index]
            matrices = [reference.linears[name].weight, *(rounding_error(model, name, fmt) for fmt in run.formats)]
            result[s, index] = [float(torch.trace(matrix @ hessian @ matrix.T)) for matrix in matrices]
    return result


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gemma3_text", "opt", "phi3", "mixtral", "qwen2_moe"])
@pytest.mark.parametrize("length", [12, 90])
def test_ratios_are_those_of_an_explicit_float64_hessian(
    load_family: Callable[[str], LoadedModel], family: str, length: int
) -> None:
    """The longer text has more tokens than features: both ways to sum energies are covered."""
    model = load_family(family)
    tokens = random_tokens(3, length)
    run = make_run(model, tokens)
    energies = dense_energies(model, tokens, run)
    sums = energies.sum(axis=0)
    with np.errstate(invalid="ignore"):
        ratio = sums[:, 1:] / sums[:, :1]
    found = run_all(FLOAT32, run)
    measured = cell_status(found) == CellStatus.MEASURED
    np.testing.assert_allclose(mean_and_error(found)[0][measured], ratio[measured], rtol=1e-4, atol=1e-12)
    assert np.array_equal(found[..., 0].max(axis=1), (energies[..., 0] > 0).sum(axis=0))


def test_the_standard_error_is_the_ratio_estimators(llama: LoadedModel) -> None:
    tokens = random_tokens(20, 12)
    run = make_run(llama, tokens, formats=FORMATS[:1])
    energies = dense_energies(llama, tokens, run)
    a, b = energies[..., 1], energies[..., 0]
    ratio = a.sum(axis=0) / b.sum(axis=0)
    expected = np.sqrt(np.square(a - ratio * b).sum(axis=0) / (20 * 19)) / b.mean(axis=0)
    np.testing.assert_allclose(mean_and_error(run_all(FLOAT32, run))[1][:, 0], expected, rtol=1e-2)


def test_the_standard_error_is_that_of_repeated_samples() -> None:
    generator = np.random.default_rng(0)
    b = generator.gamma(3.0, size=(4000, 60))
    a = b * generator.normal(0.2, 0.05, size=b.shape)
    estimates, errors = mean_and_error(np.stack([ratio_statistics(x, y) for x, y in zip(a, b, strict=True)]))
    assert estimates.std() == pytest.approx(errors.mean(), rel=0.05)


@given(
    arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e3)),
    st.floats(1e-3, 1e3),
)
def test_a_constant_ratio_has_no_error(denominators: np.ndarray, ratio: float) -> None:
    mean, error = mean_and_error(ratio_statistics(ratio * (denominators + 1.0), denominators + 1.0))
    assert mean == pytest.approx(ratio)
    assert np.isnan(error) if len(denominators) == 1 else error <= 1e-4 * ratio


def test_a_changed_output_of_nothing_is_not_a_number() -> None:
    assert cell_status(ratio_statistics(np.array([1.0, 2.0]), np.zeros(2))) == CellStatus.NON_FINITE
    assert ratio_statistics(np.zeros(2), np.zeros(2)).tolist() == [2.0, 0.0, 0.0]


def test_bfloat16_changes_a_cell_by_less_than_a_hundredth(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(8, 40), formats=FORMATS[:2])
    exact, rounded = (mean_and_error(run_all(probe, run))[0] for probe in (FLOAT32, OutputError()))
    np.testing.assert_allclose(rounded, exact, rtol=0.01)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral"])
def test_units_run_alone_or_out_of_order_give_the_same_bits(
    load_family: Callable[[str], LoadedModel], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensitivity.probes.block_walk.BATCH_TOKENS", 48)
    model = load_family(family)
    tokens = random_tokens(5, 20)
    probe = OutputError()
    units = probe.units(blocks=len(model.blocks), sequences=5)
    one_walk = make_run(model, tokens)
    together = [probe.run(one_walk, unit) for unit in units]
    backwards = [probe.run(one_walk, unit) for unit in reversed(units)][::-1]
    alone = [probe.run(make_run(model, tokens), unit) for unit in units]
    assert np.array_equal(np.stack(together), np.stack(backwards))
    assert np.array_equal(np.stack(together), np.stack(alone))


def test_units_that_follow_each_other_share_one_forward_pass(llama: LoadedModel) -> None:
    calls = [0, 0]

    def count(block: int) -> None:
        calls[block] += 1

    for index, block in enumerate(llama.blocks):
        block.register_forward_pre_hook(lambda *_, index=index: count(index))
    run = make_run(llama, random_tokens(4, 12), layers=[name for name in llama.linears if name != "lm_head"])
    run_all(OutputError(), run)
    assert calls == [2, 2]  # once for the calls' arguments, where blocks do nothing, and once to run


def test_a_walk_that_was_interrupted_goes_on(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensitivity.probes.block_walk.BATCH_TOKENS", 24)
    run = make_run(llama, random_tokens(4, 12))
    probe = OutputError()
    expected = run_all(probe, make_run(llama, run.tokens))
    linear = llama.linears["model.layers.1.mlp.down_proj"]
    calls = iter(range(2))

    def interrupt(*_: object) -> None:
        if next(calls) == 1:  # the second batch
            raise KeyboardInterrupt

    handle = linear.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all(probe, run)
    handle.remove()
    assert np.array_equal(run_all(probe, run), expected)


def test_the_model_is_left_as_it_was(llama: LoadedModel) -> None:
    run_all(OutputError(), make_run(llama, random_tokens(4, 12)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.module.modules())
    assert not any("forward" in vars(block) for block in llama.blocks)


def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel) -> None:
    found = run_all(OutputError(), make_run(mixture, random_tokens(10, 4), formats=FORMATS[:2]))
    last = np.array([".experts.4." in name for name in mixture.linears])
    assert set(cell_status(found)[last].flat) == {CellStatus.NO_TOKENS}
    assert set(cell_status(found)[~last].flat) == {CellStatus.MEASURED}


def test_an_all_zero_layer_has_loss_zero(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    found = run_all(OutputError(), make_run(llama, random_tokens(4, 8), layers=[name]))
    assert not mean_and_error(found)[0].any()
    assert set(cell_status(found).flat) == {CellStatus.MEASURED}


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    found = run_all(FLOAT32, make_run(llama, random_tokens(4, 8), formats=[NARROW_ONLY, *FORMATS]))
    refused = np.array([[linear.in_features > 32, False, False, False] for linear in llama.linears.values()])
    assert np.array_equal(found[..., 0] == 0, refused)
    rest = run_all(FLOAT32, make_run(llama, random_tokens(4, 8)))
    np.testing.assert_allclose(found[:, 1:], rest, rtol=1e-4, atol=1e-12)


def test_a_walk_stands_at_the_door_that_it_reached(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(4, 8))
    OutputError().run(run, Unit("000001", (1,)))
    assert BlockWalk.of(run).block == 2


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 2**31))
def test_strips_stand_for_the_whole_symmetric_product(features: int, rows: int, seed: int) -> None:
    """``⟨XᵀX, YᵀY⟩`` from strips is that of the whole matrices."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn((1, rows, features), generator=generator, dtype=torch.float64) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_energies, "STRIP", 16)
        found = (packed_gram(x) * doubled_off_diagonal(packed_gram(y), features)).sum()
    torch.testing.assert_close(found, (x.mT @ x * (y.mT @ y)).sum())
