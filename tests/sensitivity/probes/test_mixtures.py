"""Probes of a mixture's routers against float64 copies: tokens of each expert, and flips of one changed layer at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.errors import UnknownArchitectureError
from sensitivity.formats.any_format import ANY_FORMAT, AnyFormat
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.router_flips import RouterFlips
from sensitivity.probes.routing import Routing
from sensitivity.statistics import CellStatus, cell_status, mean_and_error, observe
from tests.sensitivity.probes.dense import (
    chosen_experts,
    doubled,
    flips_between,
    make_run,
    random_tokens,
    rounding_error,
    run_all,
)

WIDE = (get_format("INT2_G32"), get_format("BF16"))
FLOAT32 = RouterFlips(arithmetic="float32")


def routing_run(model: LoadedModel, tokens: torch.Tensor) -> ProbeRun[AnyFormat]:
    return ProbeRun(model, list(model.linears), [ANY_FORMAT], "rtn", tokens, 0)


def test_the_routed_share_counts_tokens(mixture: LoadedModel) -> None:
    tokens = random_tokens(4, 13)
    found = run_all(Routing(), routing_run(mixture, tokens))
    mean, error = mean_and_error(found[:, 0])
    chosen = chosen_experts(doubled(mixture).module, tokens)
    layers = [layer for layer in mixture.description.layers if layer.name in mixture.linears]
    for index, layer in enumerate(layers):
        status = cell_status(found)[index, 0]
        if layer.block is None:
            assert not found[index].any()
        elif layer.expert is None:
            assert (mean[index], error[index]) == (1.0, 0.0)
        else:
            reached = np.array([layer.expert in experts for experts in chosen[layer.block]]).reshape(tokens.shape)
            assert status == (CellStatus.MEASURED if reached.any() else CellStatus.NO_TOKENS)
            if reached.any():
                np.testing.assert_allclose(found[index, 0], observe(reached.mean(axis=1)), rtol=1e-12)
                assert found[index, 0, 1] * tokens.shape[1] == pytest.approx(reached.sum())
    silent = [layer.name for layer in layers if layer.expert == 4]
    assert {cell_status(found)[i, 0] for i, layer in enumerate(layers) if layer.name in silent} == {CellStatus.NO_TOKENS}


def test_shares_of_a_blocks_experts_add_up_to_what_the_configuration_says(load_family: Callable[[str], LoadedModel]) -> None:
    model = load_family("qwen2_moe")
    found = run_all(Routing(), routing_run(model, random_tokens(3, 20)))
    layers = [layer for layer in model.description.layers if layer.kind == "up_proj" and layer.expert is not None]
    shares = [mean_and_error(found[list(model.linears).index(layer.name), 0])[0] for layer in layers]
    assert np.nansum(shares) == pytest.approx(sum(layer.active_fraction for layer in layers))


@torch.no_grad()
def dense_flips(model: LoadedModel, tokens: torch.Tensor, run: ProbeRun) -> np.ndarray:
    """Share of flips of each sequence with one layer replaced, float64: (sequences, layers, formats)."""
    reference, changed = doubled(model), doubled(model)
    result = np.zeros((len(tokens), len(run.layers), len(run.formats)))
    for i, name in enumerate(run.layers):
        weight = changed.linears[name].weight
        original = weight.clone()
        for k, fmt in enumerate(run.formats):
            weight.copy_(original + rounding_error(model, name, fmt))
            result[:, i, k] = flips_between(reference.module, changed.module, tokens)
        weight.copy_(original)
    return result


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_flips_are_those_of_float64_models_with_one_layer_replaced(
    load_family: Callable[[str], LoadedModel], family: str
) -> None:
    model = load_family(family)
    names = [
        name for name in model.linears if name.endswith(("q_proj", "o_proj", "experts.0.w2", "experts.0.down_proj", "lm_head"))
    ]
    tokens = random_tokens(2, 11)
    run = make_run(model, tokens, formats=WIDE, layers=names)
    found = run_all(FLOAT32, run)
    expected = observe(dense_flips(model, tokens, run))
    inside = [i for i, name in enumerate(names) if name != "lm_head"]
    measured = found[inside, :, 0] > 0
    np.testing.assert_allclose(found[inside][measured], expected[inside][measured], atol=1e-12)
    assert found[inside][measured][:, 1].max() > 0
    assert not found[names.index("lm_head")].any()
    rough = run_all(RouterFlips(), make_run(model, tokens, formats=WIDE, layers=names))
    np.testing.assert_allclose(rough[inside, 0, 1], found[inside, 0, 1], atol=0.15)


def test_an_expert_without_tokens_has_no_flips(mixture: LoadedModel) -> None:
    layers = [layer.name for layer in mixture.description.layers if layer.expert in (0, 4)]
    status = cell_status(run_all(FLOAT32, make_run(mixture, random_tokens(2, 9), formats=WIDE[:1], layers=layers)))
    assert {status[i, 0] for i, name in enumerate(layers) if "experts.4." in name} == {CellStatus.NO_TOKENS}
    assert {status[i, 0] for i, name in enumerate(layers) if "experts.0." in name} == {CellStatus.MEASURED}


def test_streamed_models_give_the_same_flips(load_family: Callable[[str], LoadedModel]) -> None:
    whole = load_family("mixtral")
    streamed = load_model(describe(whole.description.path), streamed=True)
    tokens = random_tokens(3, 9)
    layers = [name for name in whole.linears if name.endswith(("q_proj", "experts.0.w2"))]
    found = [run_all(FLOAT32, make_run(model, tokens, formats=WIDE, layers=layers)) for model in (whole, streamed)]
    assert np.array_equal(found[0], found[1])
    shares = [run_all(Routing(), routing_run(model, tokens)) for model in (whole, streamed)]
    assert np.array_equal(shares[0], shares[1])


def test_a_dense_model_has_no_router(llama: LoadedModel) -> None:
    with pytest.raises(UnknownArchitectureError, match="has no routed experts"):
        run_all(FLOAT32, make_run(llama, random_tokens(2, 9), formats=WIDE))
