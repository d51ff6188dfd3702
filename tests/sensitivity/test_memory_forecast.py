"""The forecast of memory: what it depends on, and that it reckons with the limits of the code."""

import dataclasses

import pytest

from sensitivity import memory_forecast
from sensitivity.checkpoint.description import Layer
from sensitivity.memory_forecast import Work, forecast
from sensitivity.probe_facts import all_probe_facts
from sensitivity.probes import block_walk, kl, label_products, rounding_errors, single_changes
from tests.synthetic import description

WORK = Work(probe="fisher", rounding="rtn", formats=6, sequences=48, sequence_length=256)


def totals(blocks: int, work: Work, *, hidden: int = 128) -> tuple[int, int]:
    described = description(blocks=blocks, hidden=hidden)
    found = forecast(described.layers, parameters=described.parameters, vocab_size=described.vocab_size, work=work)
    return found.whole_bytes, found.streamed_bytes


@pytest.mark.parametrize("probe", [facts.name for facts in all_probe_facts()])
@pytest.mark.parametrize("rounding", ["rtn", "gptq"])
def test_streamed_does_not_grow_with_the_blocks_and_whole_does(probe: str, rounding: str) -> None:
    work = dataclasses.replace(WORK, probe=probe, rounding=rounding)
    few, many = totals(4, work), totals(16, work)
    assert few[1] == many[1]
    assert few[0] < many[0]
    assert many[1] < many[0]


def test_it_grows_with_what_is_measured() -> None:
    least = totals(4, WORK)
    for change in ({"formats": 12}, {"sequences": 96}, {"draws": 4}, {"element_bytes": 4}, {"rounding": "gptq"}):
        more = totals(4, dataclasses.replace(WORK, **change))
        assert more > least, change
        assert more[1] > least[1], change


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
    assert memory_forecast.BATCH_TOKENS == block_walk.BATCH_TOKENS == label_products.BATCH_TOKENS
    assert memory_forecast.KEPT_BYTES == rounding_errors.KEPT_BYTES
    assert memory_forecast.VARIANT_BYTES == single_changes.VARIANT_BYTES
    assert memory_forecast.VARIANT_SEQUENCES == kl.UNIT_SEQUENCES
