"""KL of quantized caches against float64 models whose caches are quantized by plain code."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from sensitivity.errors import CalibrationError, UnknownArchitectureError
from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, CachedTensor, KVCacheFormat
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.kl import KLDivergence
from sensitivity.probes.kv_cache import KVCache
from sensitivity.statistics import CellStatus, cell_status, mean_and_error, observe
from tests.sensitivity.cache_reference import decoded
from tests.sensitivity.probes.dense import doubled, log_probabilities, random_tokens, run_all
from tests.tiny_models import BUILDERS

BY_NAME = {fmt.name: fmt for fmt in KV_CACHE_FORMATS}
FORMATS = [BY_NAME[name] for name in ("K_INT4", "K_INT2_CHANNEL", "V_INT4", "V_FP8")]
FLOAT32 = KVCache(arithmetic="float32")
ROUNDED_APART = 1e-2
"""A state that lies between two levels may go up in float32 and down in float64."""


def cache_run(
    model: LoadedModel,
    tokens: torch.Tensor | None,
    *,
    formats: Sequence[KVCacheFormat] = FORMATS,
    layers: Sequence[str] | None = None,
) -> ProbeRun[KVCacheFormat]:
    names = layers or list(model.linears)
    return ProbeRun(model=model, layers=names, formats=formats, rounding="rtn", tokens=tokens, seed=0)


def cells_of(run: ProbeRun[KVCacheFormat]) -> list[tuple[int, int]]:
    """Layer and format of every cell that there should be."""
    keys, values = ("k_proj", "qkv_proj", "c_attn", "query_key_value"), ("v_proj", "qkv_proj", "c_attn", "query_key_value")
    kinds = {CachedTensor.KEYS: keys, CachedTensor.VALUES: values}
    return [
        (i, k)
        for i, layer in enumerate(run.layers)
        for k, fmt in enumerate(run.formats)
        if layer.rsplit(".", 1)[-1] in kinds[fmt.tensor]
    ]


class PlainCache(DynamicCache):  # type: ignore[misc]
    """A cache of transformers that keeps one tensor of one block as plain code quantizes it."""

    def __init__(self, fmt: KVCacheFormat, block: int) -> None:
        super().__init__()
        self.fmt, self.block = fmt, block

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if layer_idx == self.block:
            states = key_states if self.fmt.tensor is CachedTensor.KEYS else value_states
            found = torch.stack([torch.from_numpy(decoded(sequence.numpy(), self.fmt)) for sequence in states])
            key_states, value_states = (found, value_states) if self.fmt.tensor is CachedTensor.KEYS else (key_states, found)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)  # type: ignore[no-any-return]


@torch.no_grad()
def dense_kl(model: LoadedModel, tokens: torch.Tensor, run: ProbeRun[KVCacheFormat]) -> np.ndarray:
    """Mean over the tokens of each sequence, whole logits, float64: (sequences, layers, formats)."""
    reference = doubled(model)
    expected = log_probabilities(reference, tokens)
    result = np.zeros((len(tokens), len(run.layers), len(run.formats)))
    for i, k in cells_of(run):
        block = model.block_of(run.layers[i])
        assert block is not None
        for s, sequence in enumerate(tokens):
            cache = PlainCache(run.formats[k], block)
            found = reference.module(sequence[None], cache=cache, use_cache=True).logits[0].log_softmax(-1)
            result[s, i, k] = (expected[s].exp() * (expected[s] - found)).sum(-1).mean()
    return result


@pytest.mark.parametrize("family", [*BUILDERS, "cohere2", "olmo2", "phi", "stablelm"])
def test_cells_are_those_of_float64_models_with_one_quantized_cache(
    load_family: Callable[[str], LoadedModel], family: str
) -> None:
    """Grouped queries, norms and rotations of keys, learned positions, sliding windows, fused projections, mixtures."""
    model = load_family(family)
    tokens = random_tokens(1 + (family == "llama"), 36)
    run = cache_run(model, tokens)
    cells = cells_of(run)
    assert len(cells) == 2 * len(FORMATS)
    found = run_all(FLOAT32, run)
    expected = observe(dense_kl(model, tokens, run))
    for cell in cells:
        np.testing.assert_allclose(found[cell], expected[cell], rtol=ROUNDED_APART)
    here = np.zeros(found.shape[:2], dtype=bool)
    here[tuple(np.transpose(cells))] = True
    assert np.array_equal(found[..., 0] > 0, here)


@torch.no_grad()
def test_a_llama_written_out_by_hand_agrees(llama: LoadedModel) -> None:
    """Keys are rotated before they are stored, once for all queries of a group, and seen by all later positions."""
    tokens = random_tokens(1, 36)
    run = cache_run(llama, tokens)
    found = mean_and_error(run_all(FLOAT32, run))[0]
    reference = plain_llama(llama, tokens[0], None, 0)
    for i, k in cells_of(run):
        changed = plain_llama(llama, tokens[0], run.formats[k], llama.block_of(run.layers[i]))
        expected = float((reference.exp() * (reference - changed)).sum(-1).mean())
        np.testing.assert_allclose(found[i, k], expected, rtol=ROUNDED_APART)


def plain_llama(model: LoadedModel, tokens: torch.Tensor, fmt: KVCacheFormat | None, block: int | None) -> torch.Tensor:
    """Log-probabilities (length, vocabulary) in float64, head by head."""
    weights: dict[str, torch.Tensor] = {name: tensor.double() for name, tensor in model.module.state_dict().items()}
    heads, kv_heads = 4, 2
    states = weights["model.embed_tokens.weight"][tokens]
    length, head_dim = len(tokens), states.shape[1] // heads
    angles = torch.arange(length).double()[:, None] * 10000.0 ** (-torch.arange(0, head_dim, 2).double() / head_dim)
    future = torch.ones((length, length)).triu(1).bool()

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        scale = (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return x / scale * weights[name]

    def rotated(x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, dim=-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)

    def split(x: torch.Tensor, count: int) -> torch.Tensor:
        return x.view(length, count, head_dim).transpose(0, 1)

    for index in range(2):
        path = f"model.layers.{index}"
        inputs = normed(states, f"{path}.input_layernorm.weight")
        query, key, value = (inputs @ weights[f"{path}.self_attn.{kind}_proj.weight"].T for kind in "qkv")
        queries, keys, values = rotated(split(query, heads)), rotated(split(key, kv_heads)), split(value, kv_heads)
        if fmt is not None and index == block:
            kept = decoded((keys if fmt.tensor is CachedTensor.KEYS else values).numpy(), fmt)
            keys, values = (torch.from_numpy(kept), values) if fmt.tensor is CachedTensor.KEYS else (keys, torch.from_numpy(kept))
        mixed = []
        for head in range(heads):
            group = head * kv_heads // heads
            scores = (queries[head] @ keys[group].T / head_dim**0.5).masked_fill(future, -torch.inf)
            mixed.append(scores.softmax(-1) @ values[group])
        states = states + torch.cat(mixed, dim=-1) @ weights[f"{path}.self_attn.o_proj.weight"].T
        inputs = normed(states, f"{path}.post_attention_layernorm.weight")
        gate, up = (inputs @ weights[f"{path}.mlp.{kind}_proj.weight"].T for kind in ("gate", "up"))
        states = states + (torch.nn.functional.silu(gate) * up) @ weights[f"{path}.mlp.down_proj.weight"].T
    return (normed(states, "model.norm.weight") @ weights["lm_head.weight"].T).log_softmax(-1)


@pytest.mark.parametrize("probe", [KVCache(), FLOAT32], ids=lambda probe: probe.arithmetic)
def test_bits_depend_neither_on_the_order_of_units_nor_on_what_else_is_measured(llama: LoadedModel, probe: KVCache) -> None:
    tokens = random_tokens(5, 6)
    run = cache_run(llama, tokens)
    units = probe.units(blocks=2, sequences=5)
    together = np.stack([probe.run(run, unit) for unit in units])
    fresh = cache_run(llama, tokens)
    assert np.array_equal(np.stack([probe.run(fresh, unit) for unit in reversed(units)])[::-1], together)
    singly = [Unit(f"{s}-{b}", (b, s)) for s in (3, 0, 4, 1, 2) for b in (1, 0, 2)]
    alone = sum((probe.run(cache_run(llama, tokens), unit) for unit in singly), run.no_statistics())
    np.testing.assert_allclose(alone, together.sum(axis=0), rtol=1e-12)
    layer = "model.layers.1.self_attn.v_proj"
    one = run_all(probe, cache_run(llama, tokens, formats=FORMATS[2:3], layers=[layer]))
    assert np.array_equal(one[0, 0], together.sum(axis=0)[run.layers.index(layer), 2])


def test_a_streamed_model_gives_the_same_bits(llama: LoadedModel) -> None:
    tokens = random_tokens(2, 6)
    streamed = load_model(llama.description, streamed=True)
    assert np.array_equal(run_all(KVCache(), cache_run(streamed, tokens)), run_all(KVCache(), cache_run(llama, tokens)))


def test_bfloat16_changes_a_cell_by_less_than_a_hundredth(load_family: Callable[[str], LoadedModel]) -> None:
    run = cache_run(load_family("llama"), random_tokens(2, 36))
    exact, rounded = (mean_and_error(run_all(probe, run))[0] for probe in (FLOAT32, KVCache()))
    np.testing.assert_allclose(rounded, exact, rtol=0.01)


def test_fewer_bits_cost_more(llama: LoadedModel) -> None:
    names = ("V_BF16", "V_INT8", "V_INT4", "V_INT2")
    run = cache_run(llama, random_tokens(2, 16), formats=[BY_NAME[name] for name in names])
    loss = mean_and_error(run_all(FLOAT32, run))[0]
    values = ["v_proj" in layer for layer in run.layers]
    assert (np.diff(loss[values], axis=1) > 0).all()
    assert (loss[values] > 0).all()


def test_values_that_fp16_cannot_hold_are_no_number_and_spoil_no_other(llama: LoadedModel) -> None:
    layer = "model.layers.0.self_attn.v_proj"
    with torch.no_grad():
        llama.linears[layer].weight[0] = 1e7
    run = cache_run(llama, random_tokens(2, 8), formats=[BY_NAME["V_FP16"], BY_NAME["V_INT4"]], layers=[layer])
    assert cell_status(run_all(FLOAT32, run)).tolist() == [[CellStatus.NON_FINITE, CellStatus.NON_FINITE]]
    other = cache_run(llama, random_tokens(2, 8), formats=run.formats, layers=["model.layers.1.self_attn.v_proj"])
    assert set(cell_status(run_all(FLOAT32, other)).flat) == {CellStatus.MEASURED}


def test_the_model_is_left_as_it_was(llama: LoadedModel) -> None:
    tokens = random_tokens(2, 8)
    before = llama.module(tokens).logits
    run_all(KVCache(), cache_run(llama, tokens))
    assert torch.equal(llama.module(tokens).logits, before)
    assert not any(module._forward_hooks or "forward" in vars(module) for module in llama.module.modules())


def test_a_block_that_uses_no_cache_is_refused(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cache_run(llama, random_tokens(1, 8))
    monkeypatch.setattr("sensitivity.probes.cache_changes.CACHE_ARGUMENTS", ("memory",))
    with pytest.raises(UnknownArchitectureError, match="LlamaDecoderLayer does not keep its keys and values in a cache"):
        run_all(KVCache(), run)
    monkeypatch.setattr("sensitivity.probes.cache_changes.CACHE_ARGUMENTS", ("use_cache",))
    with pytest.raises(UnknownArchitectureError, match="leave this probe out"):
        run_all(KVCache(), cache_run(llama, random_tokens(1, 8)))


def test_blocks_without_a_cache_to_measure_cost_nothing_and_text_is_needed(llama: LoadedModel) -> None:
    run = cache_run(llama, random_tokens(2, 8), layers=["model.layers.1.self_attn.k_proj", "model.layers.0.mlp.up_proj"])
    assert not KVCache().run(run, Unit("0", (0, 0, 1))).any()
    assert not run.cache
    with pytest.raises(CalibrationError, match="calibration set"):
        KVCache().run(cache_run(llama, None), Unit("0", (0, 0)))


def test_units_are_those_of_kl() -> None:
    assert KVCache().units(blocks=3, sequences=9) == KLDivergence().units(blocks=3, sequences=9)
