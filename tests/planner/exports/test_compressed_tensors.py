"""The compressed-tensors export, judged by the library itself and by the independent reader."""

import json
import re

import pytest
import torch
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_targets
from transformers import LlamaConfig, LlamaForCausalLM

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.compressed_tensors import weight_arguments
from planner.exports.compressed_tensors_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing import compressed_tensors_refusal
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.example import HIDDEN, WIDE, example_model, mixed_plan, mixture_model

GENERIC = get_runtime("generic")


def exported(plan: dict[str, CandidateFormat], model: ExportedModel, runtime: str = "generic") -> dict[str, object]:
    found = get_exporter("compressed-tensors").export(plan, model, get_runtime(runtime))
    config = json.loads(json.dumps(found))["quantization_config"]
    assert isinstance(config, dict)
    return config


def test_the_library_accepts_it_and_resolves_every_module_once() -> None:
    model = example_model()
    plan = mixed_plan(model)
    config = exported(plan, model, "vllm")
    validated = QuantizationConfig.model_validate(config)
    scheme_of = {target: scheme for scheme in validated.config_groups.values() for target in scheme.targets}
    with torch.device("meta"):
        llama = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=HIDDEN, intermediate_size=WIDE, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
            )
        )
    for name, module in llama.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        fmt = plan.get(name)
        found = match_targets(name, module, scheme_of)
        if fmt is None or not fmt.is_quantized:
            assert found == []
            assert name in (validated.ignore or [])
        else:
            assert found == [name]
            weights = scheme_of[name].weights
            assert (weights.num_bits, weights.type, weights.symmetric) == (fmt.num_bits, fmt.type.value, fmt.symmetric)
            assert (weights.strategy, weights.group_size) == (fmt.strategy.value, fmt.group_size)


def test_shape_of_the_document() -> None:
    model = example_model()
    config = exported(mixed_plan(model), model)
    assert config["format"] == "mixed-precision"
    assert config["quantization_status"] == "compressed"
    assert config["ignore"] == ["model.layers.1.mlp.down_proj", "lm_head"]
    groups = config["config_groups"]
    assert isinstance(groups, dict)
    assert groups["int4_g64"] == {
        "targets": ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"],
        "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "dynamic": False, "group_size": 64},
        "format": "pack-quantized",
    }


def test_one_kind_of_storage_is_named_at_the_top_and_a_tied_head_is_ignored() -> None:
    model = example_model(head=False)
    config = exported({layer.name: get_format("INT4_G32") for layer in model.layers}, model)
    assert config["format"] == "pack-quantized"
    assert config["ignore"] == ["lm_head"]


def test_routers_of_a_mixture_are_ignored() -> None:
    model = mixture_model()
    config = exported({layer.name: get_format("INT4_G32") for layer in model.layers}, model, "vllm")
    ignore = config["ignore"]
    assert isinstance(ignore, list)
    patterns = [entry.removeprefix("re:") for entry in ignore if entry.startswith("re:")]
    torch_names = ["model.layers.0.mlp.gate", "model.layers.0.mlp.shared_expert_gate", "model.layers.0.mlp.experts.0.gate_proj"]
    assert [any(re.match(p, name) for p in patterns) for name in torch_names] == [True, True, False]


def test_experts_that_share_a_format_are_one_anchored_pattern() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("INT4_G32") for layer in model.layers}
    groups = exported(plan, model)["config_groups"]
    assert isinstance(groups, dict)
    assert groups["int4_g32"]["targets"] == [r"re:^model\.layers\.0\.mlp\.experts\.\d+\.(down_proj|gate_proj|up_proj)$"]
    plan[model.layers[0].name] = get_format("INT8_G32")
    config = exported(plan, model)
    assert read_assignment(config, model) == plan
    groups = config["config_groups"]
    assert isinstance(groups, dict)
    assert groups["int8_g32"]["targets"] == [model.layers[0].name]


@pytest.mark.parametrize("fmt", [fmt for fmt in all_formats() if fmt.is_quantized], ids=lambda fmt: fmt.name)
def test_every_format_is_read_back_or_refused(fmt: CandidateFormat) -> None:
    model = example_model(head=False)
    names = [layer.name for layer in model.layers]
    plan = dict.fromkeys(names, fmt)
    reasons = [compressed_tensors_refusal(fmt, layer.shape) for layer in model.layers]
    if any(reasons):
        with pytest.raises(ExportError, match=r"model\.layers\.0\.self_attn\.q_proj cannot be (exported|loaded)"):
            exported(plan, model)
        return
    config = exported(plan, model)
    QuantizationConfig.model_validate(config)
    assert read_assignment(config, model) == plan


def test_refusals_name_the_layer_and_the_rule() -> None:
    model = example_model()
    first = model.layers[0].name
    cases = [
        ({first: get_format("NF4_G64")}, model, "no NF4_G64"),
        ({first: get_format("INT4_G128")}, model, "divisible by 128"),
        ({first: get_format("INT4_G64"), model.layers[1].name: get_format("FP16")}, model, "stay BF16, not FP16"),
        ({first: get_format("BF16")}, model, "nothing to export"),
        ({first: get_format("INT4_G64")}, example_model(architecture="gpt2"), "Conv1D"),
    ]
    for plan, of, message in cases:
        with pytest.raises(ExportError, match=message):
            exported(plan, of)


def test_a_float16_model_keeps_its_own_dtype() -> None:
    model = example_model(dtype="float16")
    first, second = model.layers[0].name, model.layers[1].name
    config = exported({first: get_format("INT4_G64"), second: get_format("FP16")}, model)
    assert read_assignment(config, model)[second].name == "FP16"


def _reads(groups: dict[str, tuple[list[str], str]], ignore: list[str]) -> dict[str, object]:
    return {
        "config_groups": {
            key: {"targets": targets, "weights": weight_arguments(get_format(name))} for key, (targets, name) in groups.items()
        },
        "ignore": ignore,
    }


def test_the_reader_refuses_what_engines_would_read_differently() -> None:
    model = example_model(blocks=1, head=False)
    rest = r"re:.*\.(k|v|o|gate|up|down)_proj$"
    query = r"re:^model\.layers\.0\.self_attn\.q_proj$"
    good = _reads({"a": ([query], "INT4_G64")}, [rest])
    assert read_assignment(good, model)[model.layers[0].name].name == "INT4_G64"
    bad: list[tuple[dict[str, object], str]] = [
        (_reads({"a": ([query], "INT4_G64"), "b": ([query], "INT8_G64")}, [rest]), "INT4_G64, INT8_G64"),
        (_reads({"a": ([query], "INT4_G64")}, [rest, query]), "and ignored"),
        (_reads({"a": ([query], "INT4_G64")}, []), "no group"),
        (_reads({"a": ([query, "model.layers.7.x"], "INT4_G64")}, [rest]), "matches no layer"),
        ({"ignore": []}, "no config_groups"),
        ({"config_groups": {"a": {"targets": [query], "weights": {"num_bits": 11}}}}, "no candidate format"),
    ]
    for config, message in bad:
        with pytest.raises(ExportError, match=message):
            read_assignment(config, model)


def test_vllm_says_what_its_kernels_need() -> None:
    needs = get_runtime("vllm").kernel_needs
    assert needs(get_format("BF16")) == ""
    assert "a processor too" in needs(get_format("INT4_G64"))
    assert needs(get_format("INT8_CHANNEL")) == "compute capability 7.5 or newer"
    for name in ("INT3_G64", "INT5_G32", "INT8_G32_ASYM"):
        assert "humming-kernels" in needs(get_format(name))
    assert "8.0" in needs(get_format("MXFP4"))
    assert "not vLLM on a processor" in needs(get_format("NVFP4"))
