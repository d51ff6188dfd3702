"""Caches in the words of the engines, read back."""

from typing import Any, Literal

import pytest
from compressed_tensors.quantization import QuantizationConfig

from planner.errors import ExportError
from planner.exports.kv_cache import read_caches, with_caches
from planner.exports.target import Json
from planner.runtimes import get_runtime
from planner.schemas.choices import KVChoice

GENERIC = get_runtime("generic")


def _tensors(keys: str, values: str) -> tuple[tuple[Literal["K"], str], tuple[Literal["V"], str]]:
    return ("K", keys), ("V", values)


def choices(keys: str, values: str, *, blocks: int = 2) -> list[KVChoice]:
    return [
        KVChoice(
            layer=f"model.layers.{block}.self_attn.{tensor.lower()}_cache",
            block=block,
            tensor=tensor,
            group=0,
            format=f"{tensor}_{name}",
            size_bits=4096,
        )
        for block in range(blocks)
        for tensor, name in _tensors(keys, values)
    ]


def test_json_says_every_cache() -> None:
    made: dict[str, Any] = with_caches({"layers": {}}, choices("INT4_CHANNEL", "INT2_G32"), target="json", runtime=GENERIC)
    entry = made["kv_cache"]["model.layers.1.self_attn.k_cache"]
    assert entry == {
        "format": "K_INT4_CHANNEL",
        "bits": 4,
        "group_size": 32,
        "type": "int",
        "strategy": "channel",
        "size_bits": 4096,
    }
    assert len(made["kv_cache"]) == 4
    assert with_caches({"layers": {}}, [], target="json", runtime=GENERIC) == {"layers": {}}


def test_vllm_is_told_fp8_in_the_configuration_and_where_it_is_started() -> None:
    plain: Json = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}}
    made = with_caches(plain, choices("FP8", "FP8"), target="compressed-tensors", runtime=GENERIC)
    assert made["serve"] == "--kv-cache-dtype fp8"
    scheme = QuantizationConfig.model_validate(made["quantization_config"]).kv_cache_scheme
    assert scheme is not None
    assert (scheme.num_bits, scheme.type, scheme.strategy, scheme.symmetric) == (8, "float", "tensor", True)
    assert "kv_cache_scheme" not in str(plain)
    assert with_caches(plain, choices("BF16", "BF16"), target="compressed-tensors", runtime=GENERIC) == plain
    for keys, values in (("INT4", "INT4"), ("FP8", "BF16")):
        with pytest.raises(ExportError, match="no words for caches in K_"):
            with_caches(plain, choices(keys, values), target="compressed-tensors", runtime=GENERIC)


def test_llama_cpp_is_told_a_type_of_keys_and_one_of_values() -> None:
    planned = choices("Q8_0", "Q4_0")
    made = with_caches({"text": "…"}, planned, target="llama.cpp", runtime=GENERIC)
    assert str(made["serve"]).endswith("--cache-type-k q8_0 --cache-type-v q4_0 --flash-attn on")
    read = read_caches(made, [choice.layer for choice in planned], target="llama.cpp")
    assert read == {choice.layer: choice.format for choice in planned}
    half = with_caches({}, choices("FP16", "BF16"), target="llama.cpp", runtime=GENERIC)
    assert str(half["serve"]).endswith("--cache-type-k f16 --cache-type-v bf16")
    mixed = [*choices("Q8_0", "Q4_0", blocks=1), *choices("Q4_0", "Q4_0")[2:]]
    for wrong in (mixed, choices("INT4", "Q4_0")):
        with pytest.raises(ExportError, match="keeps all K caches in one of"):
            with_caches({}, wrong, target="llama.cpp", runtime=GENERIC)


@pytest.mark.parametrize("target", ["gptqmodel", "mlx", "torchao"])
def test_targets_that_know_no_caches_take_only_unquantized_ones(target: str) -> None:
    assert with_caches({"a": 1}, choices("BF16", "FP16"), target=target, runtime=GENERIC) == {"a": 1}
    with pytest.raises(ExportError, match=f"{target} has no words"):
        with_caches({"a": 1}, choices("INT8", "INT8"), target=target, runtime=GENERIC)


def test_modelopt_is_told_fp8_in_both_files() -> None:
    plain: Json = {"hf_quant_config": {"quantization": {"kv_cache_quant_algo": None, "a": 1}}, "quantization_config": {"b": 2}}
    made: Any = with_caches(plain, choices("FP8", "FP8"), target="modelopt", runtime=get_runtime("modelopt"))
    assert made["hf_quant_config"] == {"quantization": {"kv_cache_quant_algo": "FP8", "a": 1}}
    assert made["quantization_config"] == {"b": 2, "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}
    assert made["serve"] == "--kv-cache-dtype fp8"
    assert plain["quantization_config"] == {"b": 2}
    for one_file in ({**made, "quantization_config": {}}, {**made, "hf_quant_config": plain["hf_quant_config"]}):
        with pytest.raises(ExportError, match="engines read either") as caught:
            read_caches(one_file, ["model.layers.0.self_attn.k_cache"], target="modelopt")
        assert caught.value.fields["rule"] == "two-files"


def test_what_the_engine_does_not_keep_is_refused_even_where_the_target_could_say_it() -> None:
    """Our own JSON has words for everything, the engine that the plan is for has not."""
    vllm, llama = get_runtime("vllm"), get_runtime("llama.cpp")
    for planned, runtime, rule, layers in (
        (choices("INT4", "INT4"), vllm, "runtime", ["model.layers.0.self_attn.k_cache"]),
        (choices("FP8", "BF16"), vllm, "R1", ["model.layers.0.self_attn.k_cache", "model.layers.0.self_attn.v_cache"]),
        (choices("Q8_0", "FP8"), llama, "runtime", ["model.layers.0.self_attn.v_cache"]),
        (
            [*choices("Q8_0", "Q4_0", blocks=1), *choices("Q4_0", "Q4_0")[2:]],
            llama,
            "R1",
            ["model.layers.0.self_attn.k_cache", "model.layers.1.self_attn.k_cache"],
        ),
    ):
        with pytest.raises(ExportError, match=layers[0]) as caught:
            with_caches({}, planned, target="json", runtime=runtime)
        assert caught.value.fields == {"layers": layers, "rule": rule}
    assert with_caches({}, choices("BF16", "FP16"), target="compressed-tensors", runtime=vllm) == {}
