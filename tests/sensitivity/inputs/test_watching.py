"""Input moments against float64 sums over hooked inputs of a plain forward pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sensitivity.checkpoint.reading import describe
from sensitivity.errors import NonFiniteError
from sensitivity.inputs.moments import STRIP, InputMoments, MomentSums
from sensitivity.inputs.watching import InputWatcher
from sensitivity.loading import LoadedModel, load_model
from tests.tiny_models import BUILDERS


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(directory: Path, family: str) -> LoadedModel:
    return load_model(describe(str(BUILDERS[family](directory / family))))


def random_tokens(sequences: int, length: int) -> Tensor:
    return torch.randint(0, 256, (sequences, length), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def plain_moments(model: LoadedModel, tokens: Tensor) -> dict[str, Tensor]:
    """``E[x xᵀ]`` of every linear's inputs, from whole forward passes of one sequence each."""
    seen: dict[str, list[Tensor]] = {name: [] for name in model.linears}
    handles = [
        linear.register_forward_hook(lambda _, inputs, __, name=name: seen[name].append(inputs[0].flatten(0, -2)))
        for name, linear in model.linears.items()
    ]
    for sequence in tokens:
        model.module(sequence[None], use_cache=False)
    for handle in handles:
        handle.remove()
    rows = {name: torch.cat(found).double() for name, found in seen.items() if found}
    return {name: found.T @ found / len(found) for name, found in rows.items()}


def all_moments(model: LoadedModel, tokens: Tensor) -> dict[str, InputMoments]:
    watcher = InputWatcher(model, tokens)
    found = {}
    for block in range(len(model.blocks)):
        found.update(watcher.of_block(block, [name for name in model.linears if model.block_of(name) == block]))
    return found | watcher.outside([name for name in model.linears if model.block_of(name) is None])


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2", "opt", "qwen2_moe"])
def test_moments_of_every_layer(tmp_path: Path, family: str) -> None:
    model = load(tmp_path, family)
    tokens = random_tokens(6, 20)
    expected, found = plain_moments(model, tokens), all_moments(model, tokens)
    assert found.keys() == expected.keys()
    for name, moments in found.items():
        scale = float(expected[name].diagonal().max())
        torch.testing.assert_close(moments.hessian, expected[name], rtol=0, atol=1e-5 * scale)
        assert torch.equal(moments.hessian, moments.hessian.T)


def test_layers_with_the_same_input_share_one_object(tmp_path: Path) -> None:
    found = all_moments(load(tmp_path, "llama"), random_tokens(4, 16))
    block = "model.layers.0."
    assert found[f"{block}self_attn.q_proj"] is found[f"{block}self_attn.v_proj"]
    assert found[f"{block}mlp.gate_proj"] is found[f"{block}mlp.up_proj"]
    assert found[f"{block}self_attn.q_proj"] is not found[f"{block}self_attn.o_proj"]
    assert found[f"{block}self_attn.q_proj"].tokens == 64


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = load(tmp_path, "llama")
    all_moments(model, random_tokens(2, 16))
    assert not any(module._forward_hooks for module in model.module.modules())
    assert not any("forward" in vars(block) for block in model.blocks)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_inputs_without_finite_squares_are_named(value: float) -> None:
    sums = MomentSums()
    sums.add("model.layers.3.down_proj", torch.full((2, 8), value))
    with pytest.raises(NonFiniteError, match="down_proj"):
        sums.moments()


@pytest.mark.parametrize("features", [1, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 5])
def test_sums_do_not_depend_on_batches(features: int) -> None:
    rows = torch.randn(60, features, generator=torch.Generator().manual_seed(0))
    for parts in ([60], [1, 59], [20, 20, 20]):
        sums = MomentSums()
        for part in torch.split(rows, parts):
            sums.add("a", part[None])
        found = sums.moments()["a"]
        assert found.tokens == 60
        torch.testing.assert_close(found.hessian, rows.double().T @ rows.double() / 60, rtol=0, atol=1e-6)
