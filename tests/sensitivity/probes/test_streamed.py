"""Every probe on a streamed model against the same probe on the model in memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import OPTConfig

from sensitivity.checkpoint import describe
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import AbstractProbe, ProbeRun
from sensitivity.probes.registry import get_probe
from sensitivity.statistics import Statistics
from tests.sensitivity.probes.dense import FORMATS, make_run, random_tokens, run_all
from tests.tiny_models import write_model


def streamed(model: LoadedModel) -> LoadedModel:
    return load_model(model.description, streamed=True)


def run_on(probe: AbstractProbe, run: ProbeRun, model: LoadedModel) -> Statistics:
    return run_all(probe, replace(run, model=model, cache={}))


def some_layers(model: LoadedModel) -> list[str]:
    """One of each kind: of the first block, of the last (where experts are, two of them), and the head."""
    chosen = {(layer.kind, layer.block == 0, min(layer.expert or 0, 1)): layer.name for layer in model.description.layers}
    return [name for name in model.linears if name in chosen.values()]


@pytest.mark.parametrize("family", ["llama", "qwen2_moe"])
@pytest.mark.parametrize("name", ["weight_error", "output_error", "fisher", "hessian_trace", "kl", "linearity"])
def test_the_same_bits_as_in_memory(load_family: Callable[[str], LoadedModel], family: str, name: str) -> None:
    model = load_family(family)
    run = make_run(model, random_tokens(5, 8), formats=FORMATS[:2], layers=some_layers(model))
    probe = get_probe(name)
    assert np.array_equal(run_on(probe, run, streamed(model)), run_on(probe, run, model))


@pytest.mark.parametrize("name", ["fisher", "hessian_trace", "kl"])
def test_blocks_may_be_wider_than_the_embedding_and_the_head(tmp_path: Path, name: str) -> None:
    sizes = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256}
    config = OPTConfig(**sizes, word_embed_proj_dim=32, do_layer_norm_before=False)
    model = load_model(describe(str(write_model(tmp_path, config))))
    run = make_run(model, random_tokens(3, 8), formats=FORMATS[:2], layers=some_layers(model))
    assert np.array_equal(run_on(get_probe(name), run, streamed(model)), run_on(get_probe(name), run, model))


@pytest.mark.parametrize("rounding", ["rtn_diagonal", "gptq"])
def test_rounding_with_data_is_the_same_bits(load_family: Callable[[str], LoadedModel], rounding: str) -> None:
    model = load_family("qwen2_moe")
    run = replace(make_run(model, random_tokens(5, 8), layers=some_layers(model)[::3]), rounding=rounding)
    probe = get_probe("fisher")
    assert np.array_equal(run_on(probe, run, streamed(model)), run_on(probe, run, model))
