"""The forecast of memory: what it depends on, and that it reckons with the limits of the code."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import nn

from sensitivity import memory_forecast, next_token
from sensitivity.checkpoint.description import Layer, SourceKind
from sensitivity.memory_forecast import Work, forecast, model_sizes, probe_statistics, stored_bytes, totals, work
from sensitivity.probe_facts import all_probe_facts
from sensitivity.probes import (
    block_walk,
    coverage,
    divergence,
    fisher,
    hessian_trace,
    kl,
    label_products,
    marginal,
    output_energies,
    rounding_errors,
    salience,
    single_changes,
)
from tests.synthetic import description

WORK = Work(probe="fisher", rounding="rtn", formats=6, sequences=48, sequence_length=256)


def sums(blocks: int, work: Work, *, hidden: int = 128) -> tuple[int, int]:
    described = description(blocks=blocks, hidden=hidden)
    found = forecast(described.layers, parameters=described.parameters, vocab_size=described.vocab_size, work=work)
    return found.whole_bytes, found.streamed_bytes


@pytest.mark.parametrize("probe", [facts.name for facts in all_probe_facts()])
@pytest.mark.parametrize("rounding", ["rtn", "gptq"])
def test_streamed_does_not_grow_with_the_blocks_and_whole_does(probe: str, rounding: str) -> None:
    work = dataclasses.replace(WORK, probe=probe, rounding=rounding)
    few, many = sums(4, work), sums(16, work)
    assert few[1] == many[1]
    assert few[0] < many[0]
    assert many[1] < many[0]


@pytest.mark.parametrize("change", [{"formats": 12}, {"draws": 4}, {"element_bytes": 4}, {"rounding": "gptq"}])
def test_it_grows_with_what_is_measured(change: dict[str, Any]) -> None:
    least, more = sums(4, WORK), sums(4, dataclasses.replace(WORK, **change))
    assert more[0] > least[0]
    assert more[1] > least[1]


def test_a_factorisation_has_copies_of_the_moments_of_the_widest_layer() -> None:
    """As of the 3,072 inputs of a GPT-2's last matrix, which are most of what its rounding takes."""
    layers = [Layer(f"b.{name}", name, 0, None, 64, width) for name, width in (("up", 64), ("down", 4096))]
    found = [
        forecast(
            layers, parameters=5 * 64 * 4096, vocab_size=64, work=dataclasses.replace(WORK, probe="output_error", rounding=name)
        )
        for name in ("rtn", "rtn_diagonal", "gptq")
    ]
    matrix = 8 * 4096**2
    plain, diagonal, factorised = (one.streamed_bytes for one in found)
    assert diagonal - plain == pytest.approx(2 * matrix, rel=0.05)
    assert factorised - plain == pytest.approx(3.5 * matrix, rel=0.05)


def test_few_named_cells_are_in_memory_together_and_more_of_them_block_by_block() -> None:
    """One pass for the cells of all blocks holds the states of all of them, and no more ΔW than theirs."""
    kl = dataclasses.replace(WORK, probe="kl", formats=1, sequence_length=4096)
    weights, states = 128 * 128, 2 * 4 * 4096 * 128 + 2 * 4096 * 128
    few, more = (dataclasses.replace(kl, cells=cells, changed=cells * weights) for cells in (10, 40))
    assert sums(4, more)[0] - sums(4, few)[0] == pytest.approx(30 * (states + totals.HEAP * 2 * weights), rel=0.02)
    many = dataclasses.replace(kl, cells=41, changed=41 * weights)  # beyond eight a block, the head counted as one
    assert sums(4, more)[0] - sums(4, many)[0] == pytest.approx(33 * states, rel=0.02)
    assert sums(4, many)[1] == sums(4, dataclasses.replace(many, cells=400))[1]
    huge = dataclasses.replace(few, changed=1 << 40)  # ΔW beyond what is kept: some at a time besides
    assert sums(4, huge)[0] > sums(4, few)[0] + probe_statistics.KEPT_BYTES + probe_statistics.VARIANT_BYTES


def test_only_what_waits_grows_with_the_sequences() -> None:
    """A graph is of a unit's sequences, however many there are; the states of a walk are of all."""
    more = dataclasses.replace(WORK, sequences=96)
    assert sums(4, more) == sums(4, WORK)
    walked = [sums(4, dataclasses.replace(one, probe="output_error")) for one in (more, WORK)]
    assert walked[0] > walked[1]


def test_a_graph_of_the_whole_model_grows_with_its_blocks() -> None:
    """What four times the blocks add beyond weights and ΔW is three times the graph of four blocks."""
    described = {blocks: description(blocks=blocks) for blocks in (4, 16)}
    found = {
        blocks: forecast(one.layers, parameters=one.parameters, vocab_size=one.vocab_size, work=WORK).whole
        for blocks, one in described.items()
    }
    saved = 3 * 128 + 2 * 64 + 2 * 256 + 128 + (128 + 256)  # outputs of seven layers, and the inputs of o_proj and down_proj
    inputs = 3 * 128 + 256
    graph = 12 * 8 * 256 * (4 * saved + 2 * inputs)
    assert found[16]["activations"] - found[4]["activations"] == pytest.approx(totals.HEAP * graph, rel=0.1)


def test_a_token_in_a_mixture_passes_the_experts_that_it_is_sent_to() -> None:
    dense = model_sizes.TokenWidths.of([Layer("m.0.mlp.down_proj", "down_proj", 0, None, 64, 128)])
    experts = [Layer(f"m.0.mlp.experts.{i}.down_proj", "down_proj", 0, i, 64, 128, 0.25) for i in range(8)]
    of_experts = model_sizes.TokenWidths.of(experts)
    assert of_experts.through == 2 * dense.through
    assert of_experts.inputs == 2 * dense.inputs


def test_the_highest_of_the_phases_counts() -> None:
    """Where little is measured, cutting a long text takes most; where much is, the text was let go of by then."""
    described = description(blocks=4)
    sizes = {"parameters": described.parameters, "vocab_size": 50_000}
    little = Work("weight_error", "rtn", 1, 48, 256, characters=40_000_000)
    found = forecast(described.layers, work=little, **sizes)
    assert found.whole["text"] == found.streamed["text"] == totals.TOKEN_BYTES * 10_000_000
    assert "text" not in forecast(described.layers, work=dataclasses.replace(WORK, characters=500_000), **sizes).whole


def test_bytes_of_a_stored_parameter() -> None:
    assert stored_bytes(SourceKind.SAFETENSORS, "bfloat16") == stored_bytes(SourceKind.SAFETENSORS, "float16") == 2
    assert stored_bytes(SourceKind.SAFETENSORS, "float32") == 4
    assert stored_bytes(SourceKind.GGUF, "float32") == 1


def test_weights_are_float32_and_come_once() -> None:
    """Of a large model the rest is little: four bytes a parameter; streamed, a block and what is outside of them."""
    block = Layer("model.layers.0.mlp.up_proj", "up_proj", 0, None, 1 << 15, 1 << 15)
    layers = [dataclasses.replace(block, name=f"model.layers.{i}.mlp.up_proj", block=i) for i in range(32)]
    found = forecast(layers, parameters=33 << 30, vocab_size=1000, work=Work("weight_error", "rtn", 1, 0, 0))
    assert found.whole["weights"] == 4 * (33 << 30)
    assert found.streamed["outside the blocks"] == 4 << 30
    assert found.streamed["one block"] == 2 * (4 << 30)  # while it is converted


def test_nothing_at_all() -> None:
    found = forecast([], parameters=0, vocab_size=0, work=Work("weight_error", "rtn", 0, 0, 0))
    assert found.whole_bytes == found.streamed_bytes == memory_forecast.PROGRAM_BYTES


def test_its_limits_are_those_of_the_code() -> None:
    assert work.BATCH_TOKENS == block_walk.BATCH_TOKENS == label_products.BATCH_TOKENS
    assert all(probe.UNIT_SEQUENCES == work.GRAPH_SEQUENCES for probe in (coverage, fisher, hessian_trace, marginal, salience))
    assert work.VARIANT_SEQUENCES == kl.UNIT_SEQUENCES
    assert probe_statistics.KEPT_BYTES == rounding_errors.KEPT_BYTES
    assert probe_statistics.VARIANT_BYTES == single_changes.VARIANT_BYTES
    assert probe_statistics.GRAM_BYTES == output_energies.GRAM_BYTES
    assert probe_statistics.TILE == divergence.TILE
    assert model_sizes.packed_size(1000) == output_energies.packed_size(1000)
    vocabulary = SimpleNamespace(config=SimpleNamespace(vocab_size=1 << 10))
    assert 4 * (1 << 10) * next_token.positions_at_once(cast("nn.Module", vocabulary)) == totals.LOGIT_BYTES
