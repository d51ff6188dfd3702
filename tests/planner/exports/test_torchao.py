"""The torchao export: keys, names that engines look for, traps. torchao and transformers load it in tests/exports."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.torchao import parameter_name, scheme
from planner.exports.torchao_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_torchao import torchao_refusal
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.example import example_model, mixture_model

TORCHAO = get_runtime("torchao")
MODEL = example_model()
Plan = dict[str, CandidateFormat]
QKV = r"re:model\.layers\.0\.self_attn\.(q|k|v|qkv)_proj"
GATE_UP = r"re:model\.layers\.0\.mlp\.(gate|up|gate_up)_proj"


def plan_of(parts: dict[str, str]) -> Plan:
    return {layer.name: get_format(name) for layer in MODEL.layers for part, name in parts.items() if re.search(part, layer.name)}


MIXED = plan_of(
    {r"0\.self_attn\.[qkv]": "INT8_G64", r"0.*o_proj": "FP8", r"1.*(gate|up)": "INT4_G32_ASYM", r"1.*down": "FP8_TENSOR"}
)


def exported(plan: Plan, model: ExportedModel = MODEL) -> dict[str, Any]:
    """The keys of a plan's export."""
    found = json.loads(json.dumps(get_exporter("torchao").export(plan, model, TORCHAO)))["quantization_config"]
    assert set(found) == {"quant_method", "quant_type"}
    keys = found["quant_type"]["default"]["_data"]["fqn_to_config"]
    assert isinstance(keys, dict)
    return keys


def document(keys: dict[str, Any]) -> dict[str, Any]:
    default = {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": keys}}
    return {"quantization_config": {"quant_method": "torchao", "quant_type": {"default": default}}}


def read(keys: dict[str, Any], model: ExportedModel = MODEL) -> dict[str, str]:
    return {name: fmt.name for name, fmt in read_assignment(document(keys), model).items()}


def refused(keys: dict[str, Any], message: str, model: ExportedModel = MODEL) -> None:
    with pytest.raises(ExportError, match=message):
        read(keys, model)


def without(keys: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if name != key}


def test_words_of_the_document() -> None:
    keys = exported(MIXED)
    assert keys[QKV] == {
        "_type": "Int8WeightOnlyConfig",
        "_version": 2,
        "_data": {
            "group_size": None,
            "granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 64}},
            "set_inductor_config": True,
        },
    }
    asymmetric = keys[GATE_UP.replace("0", "1")]["_data"]
    assert asymmetric["weight_dtype"] == {"_type": "torch.dtype", "_data": "int4"}
    assert asymmetric["mapping_type"] == {"_type": "MappingType", "_data": "ASYMMETRIC"}
    assert keys["model.layers.1.mlp.down_proj"]["_data"]["granularity"]["_type"] == "PerTensor"
    assert keys["model.layers.1.self_attn.o_proj"] is keys["lm_head"] is keys[GATE_UP] is None


def test_fused_names_find_the_configuration_of_their_members() -> None:
    """Rule R2: vLLM looks for ``qkv_proj``; a rule with the members' names alone would silently do nothing there."""
    keys = exported(MIXED)
    for name in ("q_proj", "k_proj", "v_proj", "qkv_proj"):
        assert re.fullmatch(QKV.removeprefix("re:"), f"model.layers.0.self_attn.{name}")
    members = without(keys, QKV) | {f"model.layers.0.self_attn.{kind}_proj": keys[QKV] for kind in "qkv"}
    refused(members, r"q_proj needs one configuration .*rule R2.*qkv_proj by None")


def test_a_pattern_for_v_proj_that_matches_qkv_proj() -> None:
    """``.*v_proj`` matches vLLM's fused name too, so that it would take q and k along."""
    keys = exported(MIXED)
    loose = {r"re:.*layers\.0\.self_attn\.(q|k)_proj": None, r"re:.*layers\.0\.self_attn\..*v_proj": keys[QKV]}
    refused(without(keys, QKV) | loose, r"rule R2.*qkv_proj by 're:.*v_proj'")


def test_patterns_match_whole_names() -> None:
    """Layer 1 is not layer 10: torchao uses ``fullmatch``, and dots are escaped."""
    model = example_model(blocks=12)
    one = {name: get_format("INT8_G64") for name in (layer.name for layer in model.layers) if ".layers.1.self_attn" in name}
    found = read(exported(one, model), model)
    assert {found[f"model.layers.10.self_attn.{kind}_proj"] for kind in "qkvo"} == {"BF16"}
    for key in exported(one, model):
        assert not key.startswith("re:") or r"model\.layers\." in key


def test_a_prefix_matches_nothing() -> None:
    keys = without(exported(MIXED), QKV)
    refused({**keys, r"re:model\.layers\.0\.self_attn": None}, "q_proj needs one configuration")


def test_overlapping_patterns_are_refused_whatever_their_order() -> None:
    """torchao takes the first; transformers sorts the keys when it saves the configuration."""
    keys = exported(MIXED)
    for first in (True, False):
        rest = {r"re:.*\.q_proj": None}
        refused({**rest, **keys} if first else {**keys, **rest}, r"q_proj is matched by .* and .*: transformers sorts")


def test_an_exact_name_comes_before_patterns_and_a_parameter_before_its_module() -> None:
    name = "model.layers.0.self_attn.o_proj"
    keys, eight = without(exported(MIXED), name), scheme(get_format("FP8"))
    refused({**keys, name: None, r"re:.*\.0\.self_attn\.o_proj": eight}, "matches no layer")  # the pattern is never used
    refused({**keys, name: None, f"{name}.weight": eight}, "matches no layer")
    assert read({**keys, f"{name}.weight": eight})[name] == "FP8"


def test_what_torchao_would_ignore_or_quantize_silently_is_refused() -> None:
    keys = exported(MIXED)
    refused({**keys, "model.layers.9.mlp.down_proj": None}, r"'model\.layers\.9\.mlp\.down_proj' matches no layer")
    refused(without(keys, "lm_head"), "lm_head needs one configuration")
    refused({**keys, "_default": None}, "_default would quantize")
    for broken in ({}, {"quantization_config": {"quant_method": "torchao", "quant_type": {"other": {}}}}):
        with pytest.raises(ExportError, match="no torchao quant_type"):
            read_assignment(broken, MODEL)


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "Int4WeightOnlyConfig"},
        {"_version": 1},
        {"_data": {"granularity": {"_type": "PerBlock", "_data": {}}}},
        {"_data": {"granularity": {"_type": "PerTensor", "_data": {}}}},
        {"_data": {"granularity": {"_type": "PerGroup", "_data": {"group_size": 48}}}},
    ],
)
def test_configurations_that_are_no_format(change: dict[str, Any]) -> None:
    keys = exported(MIXED)
    refused({**keys, QKV: {**keys[QKV], **change}}, "no candidate format is stored by")


def test_symmetric_eight_bits_have_their_own_class() -> None:
    keys = exported(MIXED)
    eight = scheme(get_format("INT8_G64_ASYM"))
    assert read({**keys, QKV: eight})["model.layers.0.self_attn.q_proj"] == "INT8_G64_ASYM"
    data = eight["_data"]
    assert isinstance(data, dict)
    symmetric = {**eight, "_data": {**data, "mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"}}}
    refused({**keys, QKV: symmetric}, "no candidate format")


def test_groups_that_do_not_divide_the_inputs() -> None:
    model = replace(MODEL, layers=tuple(replace(layer, in_features=96) for layer in MODEL.layers))
    refused(exported(MIXED), "96 inputs, not divisible by 64", model)


@pytest.mark.parametrize("fmt", [fmt for fmt in all_formats() if fmt.is_quantized], ids=lambda fmt: fmt.name)
def test_every_format_is_read_back_or_refused(fmt: CandidateFormat) -> None:
    model = replace(MODEL, layers=tuple(replace(layer, in_features=256) for layer in MODEL.layers))
    plan = dict.fromkeys((layer.name for layer in model.layers), fmt)
    if torchao_refusal(fmt, model.layers[0].shape) is None:
        assert set(read(exported(plan, model), model).values()) == {fmt.name}
        return
    for runtime in (TORCHAO, get_runtime("generic")):  # the runtime refuses it, and so does the exporter by itself
        with pytest.raises(ExportError, match=r"model\.layers\.0\.self_attn\.q_proj cannot be"):
            get_exporter("torchao").export(plan, model, runtime)


def test_fused_members_need_one_format() -> None:
    plan = {**MIXED, MODEL.layers[0].name: get_format("INT8_G32")}
    for runtime in (TORCHAO, get_runtime("generic")):
        with pytest.raises(ExportError, match="q_proj"):
            get_exporter("torchao").export(plan, MODEL, runtime)


def test_experts_are_two_parameters_of_fp8() -> None:
    model = mixture_model()
    keys = exported({layer.name: get_format("FP8") for layer in model.layers}, model)
    assert list(keys) == [r"re:model\.layers\.0\.mlp\.experts\.(gate_up_proj|down_proj)"]
    assert {parameter_name(layer).rpartition(".")[2] for layer in model.layers} == {"gate_up_proj", "down_proj"}
    for runtime in (TORCHAO, get_runtime("generic")):
        with pytest.raises(ExportError, match=r"experts\.0\.gate_proj cannot be .*experts of a block in FP8 or unquantized"):
            get_exporter("torchao").export({layer.name: get_format("INT8_G64") for layer in model.layers}, model, runtime)


def test_experts_of_mixtral_have_transformers_names() -> None:
    names = [f"model.layers.0.block_sparse_moe.experts.{expert}.{kind}" for expert in range(2) for kind in ("w1", "w3", "w2")]
    layers = tuple(Layer(name, name[-2:], 0, int(name[-4]), 64, 64, 0.5) for name in names)
    model = ExportedModel("e" * 64, "a/mixtral", "mixtral", "bfloat16", layers)
    keys = exported({name: get_format("FP8") for name in names}, model)
    assert list(keys) == [r"re:model\.layers\.0\.mlp\.experts\.(gate_up_proj|down_proj)"]
    split = {f"model.layers.0.mlp.experts.{name}": keys[next(iter(keys))] for name in ("gate_up_proj", "down_proj")}
    assert set(read(split, model).values()) == {"FP8"}


def test_the_head_of_gpt_neox_has_transformers_name() -> None:
    model = ExportedModel("e" * 64, "a/neox", "gpt_neox", "bfloat16", (Layer("embed_out", "embed_out", None, None, 50, 64),))
    assert list(exported({"embed_out": get_format("INT8_G64")}, model)) == ["lm_head"]
    assert parameter_name(model.layers[0]) == "lm_head.weight"


def test_what_torchao_cannot_export() -> None:
    first = MODEL.layers[3].name
    with pytest.raises(ExportError, match="nothing to export"):
        exported({first: get_format("BF16")})
    with pytest.raises(ExportError, match="stay BF16, not FP16"):
        exported({**MIXED, first: get_format("FP16")})
    with pytest.raises(ExportError, match="Conv1D"):
        exported(MIXED, replace(MODEL, architecture="gpt2"))
