"""Diagnostics that rank layers, each against a dense float64 reference that runs the whole model at once."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from sensitivity.errors import CalibrationError
from sensitivity.formats.any_format import ANY_FORMAT, AnyFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probe_facts import all_probe_facts
from sensitivity.probes import kurtosis as kurtosis_module
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit
from sensitivity.probes.compactness import Compactness
from sensitivity.probes.energy_gain import EnergyGain
from sensitivity.probes.kurtosis import Kurtosis
from sensitivity.probes.orthogonality import Orthogonality
from sensitivity.probes.perplexity_drop import PerplexityDrop
from sensitivity.probes.registry import get_probe
from sensitivity.probes.salience import Salience
from sensitivity.probes.spectra import spectrum
from sensitivity.statistics import CellStatus, cell_status, observe
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

ON_TEXT: list[AbstractProbe[Any]] = [
    PerplexityDrop(),
    Compactness(),
    EnergyGain(directions=2),
    Orthogonality(positions=7),
    Salience(arithmetic="float32"),
]
named = pytest.mark.parametrize("probe", ON_TEXT, ids=lambda probe: probe.facts.name)


def any_run(model: LoadedModel, tokens: torch.Tensor | None, *, layers: Sequence[str] | None = None) -> ProbeRun[AnyFormat]:
    names = layers or [name for name in model.linears if model.block_of(name) is not None]
    return ProbeRun(model=model, layers=names, formats=[ANY_FORMAT], rounding="rtn", tokens=tokens, seed=3)


def run_of(
    probe: AbstractProbe[Any], model: LoadedModel, tokens: torch.Tensor | None, *, layers: Sequence[str] | None = None
) -> Any:
    if isinstance(probe, Salience):
        return make_run(model, tokens, layers=layers)
    return any_run(model, tokens, layers=layers)


@contextmanager
def outputs_of(model: LoadedModel) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Inputs and outputs of every linear's last call, by the layer's name."""
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name: str, linear: nn.Linear) -> Any:
        return linear.register_forward_hook(lambda _, inputs, output: found.update({name: (inputs[0], output)}))

    handles = [watch(name, linear) for name, linear in model.linears.items()]
    yield found
    for handle in handles:
        handle.remove()


@torch.no_grad()
def layer_outputs(model: LoadedModel, sequence: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    with outputs_of(model) as found:
        model.module(sequence[None], use_cache=False)
    return {
        name: (inputs.reshape(-1, inputs.shape[-1]), output.reshape(-1, output.shape[-1]))
        for name, (inputs, output) in found.items()
    }


@pytest.mark.parametrize("strip", [1 << 22, 1])
def test_kurtosis_is_that_of_scipy(llama: LoadedModel, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kurtosis_module, "STRIP_ELEMENTS", strip)
    run = any_run(llama, None, layers=list(llama.linears))
    found = run_all(Kurtosis(), run)
    expected = [
        scipy.stats.kurtosis(linear.weight.double().numpy(), axis=None, fisher=False) for linear in llama.linears.values()
    ]
    np.testing.assert_allclose(found[:, 0, 1], expected, rtol=1e-9)
    assert np.array_equal(found[:, 0, 0], np.ones(len(expected)))


def test_equal_weights_have_no_kurtosis(llama: LoadedModel) -> None:
    name = "model.layers.0.mlp.up_proj"
    with torch.no_grad():
        llama.linears[name].weight.fill_(0.5)
    assert cell_status(run_all(Kurtosis(), any_run(llama, None, layers=[name]))).item() == CellStatus.NON_FINITE


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@torch.no_grad()
def test_perplexity_drops_as_the_model_without_the_block_says(load_family: Callable[[str], LoadedModel], family: str) -> None:
    model = load_family(family)
    tokens = random_tokens(5, 9)
    run = any_run(model, tokens)
    found = run_all(PerplexityDrop(), run)
    reference = doubled(model)

    def losses() -> np.ndarray:
        chosen = log_probabilities(reference, tokens)[:, :-1].gather(-1, tokens[:, 1:, None])
        return np.asarray(-chosen.mean(dim=(1, 2)).numpy())

    whole = losses()
    for block, module in enumerate(reference.blocks):
        monkey = pytest.MonkeyPatch()
        monkey.setattr(module, "forward", lambda states, *_, **__: states)
        expected = observe(losses() - whole)
        monkey.undo()
        for index, _ in run.layers_of_block(block):
            np.testing.assert_allclose(found[index, 0], expected, rtol=1e-4, atol=1e-7)


def dense_shares(outputs: torch.Tensor) -> np.ndarray:
    """Eigenvalues of the whole covariance, features × features."""
    centred = outputs.double() - outputs.double().mean(0)
    unit = (centred / centred.norm(dim=1, keepdim=True)).numpy()
    values = np.sort(np.linalg.eigvalsh(unit.T @ unit).clip(0))[::-1]
    return np.asarray(values / values.sum())


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_spectra_are_compared_with_those_of_random_weights(load_family: Callable[[str], LoadedModel], family: str) -> None:
    model = load_family(family)
    tokens = random_tokens(2, 12)
    run = any_run(model, tokens, layers=[name for name in model.linears if ".1." in name])
    compact, energy = run_all(Compactness(), run), run_all(EnergyGain(directions=2), run)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in run.layers}
    for sequence in tokens:
        for name, (inputs, output) in layer_outputs(doubled(model), sequence).items():
            if name in samples and len(output) > 1:
                generator = np.random.default_rng((3, zlib.crc32(name.encode())))
                noise = generator.standard_normal((output.shape[1], inputs.shape[1]), dtype=np.float32)
                trained, random = dense_shares(output), dense_shares(inputs @ torch.from_numpy(noise).double().T)
                ranks = [np.exp(-scipy.stats.entropy(shares)) for shares in (trained, random)]
                samples[name].append((ranks[0] - ranks[1], trained[:2].sum() - random[:2].sum()))
    for index, name in enumerate(run.layers):
        expected = observe(np.array(samples[name]).reshape(-1, 2))
        np.testing.assert_allclose(compact[index, 0], expected[0], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(energy[index, 0], expected[1], rtol=1e-3, atol=1e-6)


def test_outputs_in_one_direction_are_as_compact_as_can_be() -> None:
    line = torch.arange(6.0)[:, None] * torch.tensor([[1.0, -2.0, 3.0]])
    shares = spectrum(line)
    assert shares is not None
    np.testing.assert_allclose(shares.numpy(), [1.0, 0.0, 0.0], atol=1e-12)
    assert spectrum(torch.ones((4, 3))) is None


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "qwen2_moe"])
def test_orthogonality_is_the_sum_of_the_alignments_with_all_other_layers(
    load_family: Callable[[str], LoadedModel], family: str
) -> None:
    """From the features × features products of the definition; experts' outputs are zero for tokens of others."""
    model = load_family(family)
    tokens = random_tokens(2, 12)
    layers = [name for name in model.linears if model.block_of(name) is not None]
    run = any_run(model, tokens, layers=layers[::2])
    found = run_all(Orthogonality(positions=7), run)
    rows = torch.arange(7) * 12 // 7
    total = np.zeros((len(layers), 3))
    for sequence in tokens:
        features = dense_features(doubled(model), sequence, layers)
        there = {name: f[rows] for name, f in features.items() if f[rows].any()}
        for i, name in enumerate(layers):
            if name in there:
                gamma = sum(alignment(there[name], other) for key, other in there.items() if key != name)
                total[i] += observe(np.array([gamma]))
    np.testing.assert_allclose(found[:, 0], total[::2], rtol=1e-4)


def alignment(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((two.T @ one).square().sum() / ((one.T @ one).norm() * (two.T @ two).norm()))


def dense_features(model: LoadedModel, sequence: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Outputs (length, features); those of an expert at the tokens that its router chose."""
    chosen: dict[int, torch.Tensor] = {}
    handles = []
    for block, module in enumerate(model.blocks):
        for child in module.modules():
            if type(child).__name__ == "RoutedExperts":
                handles.append(child.register_forward_pre_hook(lambda _, inputs, block=block: chosen.update({block: inputs[1]})))
    found = layer_outputs(model, sequence)
    for handle in handles:
        handle.remove()
    experts = {layer.name: layer.expert for layer in model.description.layers}
    result = {}
    for name in layers:
        if name in found:
            output, expert, place = found[name][1], experts[name], model.block_of(name)
            result[name] = output
            if expert is not None and place is not None:
                result[name] = output.new_zeros((len(sequence), output.shape[1]))
                result[name][(chosen[place] == expert).any(-1)] = output
    return result


@pytest.mark.parametrize(("family", "rows"), [("llama", 1.0), ("llama", 0.1), ("opt", 1.0), ("mixtral", 1.0)])
def test_salience_is_that_of_plain_gradients(load_family: Callable[[str], LoadedModel], family: str, rows: float) -> None:
    """The head too, where it is a layer."""
    model = load_family(family)
    tokens = random_tokens(2, 6)
    run = make_run(model, tokens, formats=FORMATS[:2])
    found = run_all(Salience(rows=rows, arithmetic="float32"), run)
    samples = np.stack([plain_salience(model, sequence, run.layers, run.formats, rows) for sequence in tokens])
    reached = ~np.isnan(samples).all(axis=(0, 2))
    expected = observe(np.nan_to_num(samples))
    np.testing.assert_allclose(found[reached], expected[reached], rtol=2e-3, atol=1e-8)
    assert not found[~reached].any()


def plain_salience(
    model: LoadedModel, sequence: torch.Tensor, layers: Sequence[str], formats: Sequence[CandidateFormat], share: float
) -> np.ndarray:
    reference = doubled(model)
    weights = [reference.linears[name].weight.requires_grad_() for name in layers]
    loss = -log_probabilities(reference, sequence[None])[0, :-1].gather(-1, sequence[1:, None]).mean()
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    result = np.full((len(layers), len(formats)), np.nan)
    for i, (name, gradient) in enumerate(zip(layers, gradients, strict=True)):
        for k, fmt in enumerate(formats if gradient is not None else ()):
            products = (gradient * rounding_error(model, name, fmt)).sum(dim=1)
            saliences = sorted((products + products**2 / 2).abs().tolist(), reverse=True)
            result[i, k] = sum(saliences[: -(-int(share * 10) * len(saliences) // 10)])
    return result


def test_an_unchanged_layer_has_no_salience_and_a_refused_one_no_sample(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(2, 8), formats=[NARROW_ONLY, *FORMATS])
    found = run_all(Salience(), run)
    refused = np.array([linear.in_features > 32 for linear in llama.linears.values()])
    assert np.array_equal(found[:, 0, 0] == 0, refused)
    assert not found[:, run.formats.index(FORMATS[-1]), 1:].any()  # BF16 stores the checkpoint as it is


def test_bfloat16_changes_salience_little(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(2, 16), formats=FORMATS[:2])
    exact, rounded = (run_all(Salience(arithmetic=name), run)[..., 1] for name in ("float32", "bfloat16"))
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


@named
def test_units_may_be_run_in_any_order_and_grouping(llama: LoadedModel, probe: AbstractProbe[Any]) -> None:
    tokens = random_tokens(9, 6)
    run, fresh = run_of(probe, llama, tokens), run_of(probe, llama, tokens)
    units = probe.units(blocks=2, sequences=9)
    together = np.stack([probe.run(run, unit) for unit in units])
    assert np.array_equal(np.stack([probe.run(fresh, unit) for unit in reversed(units)])[::-1], together)
    one = "model.layers.1.mlp.down_proj"
    alone = run_all(probe, run_of(probe, llama, tokens, layers=[one]))
    np.testing.assert_allclose(alone[0], together.sum(axis=0)[run.layers.index(one)], rtol=1e-12)


@pytest.mark.parametrize("name", ["kurtosis", "perplexity_drop", "compactness", "orthogonality"])
def test_a_streamed_model_gives_the_same_bits(load_family: Callable[[str], LoadedModel], name: str) -> None:
    model = load_family("qwen2_moe")
    layers = [layer for layer in model.linears if ".1." in layer][::4]
    runs = [any_run(found, random_tokens(3, 8), layers=layers) for found in (model, load_model(model.description, streamed=True))]
    whole, streamed = (run_all(get_probe(name), run) for run in runs)
    assert np.array_equal(whole, streamed)


@named
def test_text_is_needed(llama: LoadedModel, probe: AbstractProbe[Any]) -> None:
    unit = probe.units(blocks=2, sequences=1)[0]
    with pytest.raises(CalibrationError, match="calibration set"):
        probe.run(run_of(probe, llama, None), unit)


@named
def test_activations_that_are_not_finite_have_a_status(llama: LoadedModel, probe: AbstractProbe[Any]) -> None:
    with torch.no_grad():
        llama.blocks[0].get_parameter("input_layernorm.weight").fill_(float("inf"))
    run = run_of(probe, llama, random_tokens(2, 8), layers=["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"])
    assert set(cell_status(run_all(probe, run)).flat) == {CellStatus.NON_FINITE}


@pytest.mark.parametrize("probe", [PerplexityDrop(), Salience()], ids=lambda probe: probe.facts.name)
def test_a_single_token_predicts_nothing(llama: LoadedModel, probe: AbstractProbe[Any]) -> None:
    with pytest.raises(CalibrationError, match="at least two tokens"):
        run_all(probe, run_of(probe, llama, random_tokens(1, 1)))


@pytest.mark.parametrize("probe", [Compactness(), Orthogonality(), Salience()], ids=lambda probe: probe.facts.name)
def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel, probe: AbstractProbe[Any]) -> None:
    run = run_of(probe, mixture, random_tokens(2, 8))
    status = cell_status(run_all(probe, run))
    idle = np.array([".experts.4." in name for name in run.layers])
    assert set(status[idle].flat) == {CellStatus.NO_TOKENS}
    assert CellStatus.NO_TOKENS not in status[~idle]


@named
def test_the_model_is_left_as_it_was(llama: LoadedModel, probe: AbstractProbe[Any]) -> None:
    tokens = random_tokens(2, 8)
    run_all(probe, run_of(probe, llama, tokens))
    modules = list(llama.module.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in modules)
    assert not any(parameter.requires_grad for parameter in llama.module.parameters())


def test_blocks_without_a_layer_to_measure_cost_nothing(llama: LoadedModel) -> None:
    run = any_run(llama, random_tokens(2, 8), layers=["model.layers.1.mlp.up_proj"])
    for probe in (PerplexityDrop(), Compactness()):
        assert not probe.run(run, Unit("0", (0,))).any()
    assert not run.cache


def test_diagnostics_are_rankings() -> None:
    names = {"salience", "orthogonality", "perplexity_drop", "compactness", "energy_gain", "kurtosis"}
    facts = {facts.name: facts for facts in all_probe_facts()}
    assert all(facts[name].is_ranking and not facts[name].in_nats and not facts[name].additive for name in names)
    assert not any(facts[name].is_ranking for name in ("fisher", "kl", "kv_cache", "output_error", "weight_error"))
