"""The mlx export: its entries, its traps, and the reader's own idea of mlx-lm's names. mlx-lm loads it in tests/exports."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.mlx_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_mlx import mlx_refusal
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.example import example_model, mixture_model

MLX = get_runtime("mlx")
MODEL = example_model()
Plan = dict[str, CandidateFormat]


def plan_of(**parts: str) -> Plan:
    return {f"model.layers.{part.replace('__', '.')}": get_format(name) for part, name in parts.items()}


def exported(plan: Plan, model: ExportedModel = MODEL) -> dict[str, Any]:
    found = get_exporter("mlx").export(plan, model, MLX)["quantization"]
    assert isinstance(found, dict)
    return found


def uniform(model: ExportedModel, name: str) -> Plan:
    return {layer.name: get_format(name) for layer in model.layers}


def refused(entries: Mapping[str, object], message: str, model: ExportedModel = MODEL) -> None:
    with pytest.raises(ExportError, match=message):
        read_assignment({"quantization": entries}, model)


MIXED = {
    "model.layers.0.self_attn.q_proj": get_format("INT8_G64"),
    "model.layers.0.mlp.down_proj": get_format("MXFP4"),
    "model.layers.1.mlp.down_proj": get_format("INT3_G128"),
    "model.layers.1.self_attn.o_proj": get_format("BF16"),
}


def test_words_of_the_document() -> None:
    document = get_exporter("mlx").export(MIXED, MODEL, MLX)
    assert document["quantization_config"] == document["quantization"]
    entries = exported(MIXED)
    assert entries["model.layers.0.self_attn.q_proj"] == {"group_size": 64, "bits": 8, "mode": "affine"}
    assert entries["model.layers.0.mlp.down_proj"] == {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    assert entries["model.layers.1.mlp.down_proj"] == {"group_size": 128, "bits": 3, "mode": "affine"}
    unplanned = {layer.name for layer in MODEL.layers} - MIXED.keys()
    assert all(entries[name] is False for name in unplanned | {"model.layers.1.self_attn.o_proj", "lm_head"})


def test_the_head_is_quantized_where_it_is_planned() -> None:
    assert exported(uniform(MODEL, "INT4_G64"))["lm_head"] == {"group_size": 64, "bits": 4, "mode": "affine"}
    assert exported({**MIXED, "lm_head": get_format("INT8_G32")})["lm_head"]["bits"] == 8
    assert "lm_head" not in exported(MIXED, example_model(head=False))  # a tied head is the embedding, which has no entry


def test_inputs_not_divisible_by_the_default_group() -> None:
    """``mlx_lm.convert`` skips such modules although they have an entry: the default is the smallest group planned."""
    entries = exported({**MIXED, "model.layers.1.mlp.up_proj": get_format("INT4_G64")})
    assert entries["group_size"] == 32
    narrow = replace(MODEL, layers=(Layer("model.layers.0.self_attn.q_proj", "q_proj", 0, None, 64, 96),))
    good = {"group_size": 32, "bits": 4, "mode": "affine"}
    entry = {"model.layers.0.self_attn.q_proj": good}
    assert read_assignment({"quantization": {**good, **entry}}, narrow)[narrow.layers[0].name].name == "INT4_G32"
    refused({**good, "group_size": 64, **entry}, "96 inputs, not divisible by 64", narrow)
    refused({**good, "model.layers.0.self_attn.q_proj": {**good, "group_size": 64}}, "96 inputs, not divisible by 64", narrow)


def test_a_layer_without_an_entry_is_refused() -> None:
    """mlx-lm goes by the file, its converter by the default: ``false`` has to be written."""
    entries = exported(MIXED)
    del entries["model.layers.1.self_attn.v_proj"]
    refused(entries, r"model\.layers\.1\.self_attn\.v_proj needs an entry")


def test_an_entry_of_no_layer_is_refused() -> None:
    refused({**exported(MIXED), "model.layers.9.mlp.up_proj": False}, r"model\.layers\.9\.mlp\.up_proj.*ignores it silently")


def test_names_are_whole_paths() -> None:
    """Layer 1 and layer 10 are different entries: nothing is a pattern."""
    model = example_model(blocks=12)
    plan = plan_of(**{"1__mlp__up_proj": "INT4_G64", "10__mlp__up_proj": "INT8_G64"})
    assert read_assignment({"quantization": exported(plan, model)}, model)["model.layers.10.mlp.up_proj"].name == "INT8_G64"
    with pytest.raises(ExportError, match="names no layer"):
        read_assignment({"quantization": {**exported(plan, model), r"re:.*layers\.1.*": False}}, model)


def test_seven_bits_and_what_else_mlx_does_not_have() -> None:
    seven = {"group_size": 64, "bits": 7, "mode": "affine"}
    refused({**exported(MIXED), "model.layers.0.self_attn.q_proj": seven}, "mode affine with 7 bits in groups of 64")
    for entry in ({**seven, "bits": 4, "group_size": 16}, {**seven, "mode": "nvfp4", "bits": 4}, {**seven, "mode": "mxfp4"}):
        refused({**exported(MIXED), "model.layers.0.self_attn.q_proj": entry}, "no format that MLX stores")
    refused({**exported(MIXED), "lm_head": {**seven, "bits": 4, "sym": True}}, "lm_head needs an entry with group_size, bits")
    refused({"bits": 4}, "no quantization")
    with pytest.raises(ExportError, match="differ"):
        read_assignment({"quantization": exported(MIXED), "quantization_config": {}}, MODEL)


@pytest.mark.parametrize("fmt", [fmt for fmt in all_formats() if fmt.is_quantized], ids=lambda fmt: fmt.name)
def test_every_format_is_read_back_or_refused(fmt: CandidateFormat) -> None:
    model = replace(MODEL, layers=tuple(replace(layer, in_features=256) for layer in MODEL.layers))
    plan = dict.fromkeys((layer.name for layer in model.layers), fmt)
    reason = mlx_refusal(fmt, model.layers[0].shape)
    if reason is None:
        assert read_assignment({"quantization": exported(plan, model)}, model) == plan
        return
    for runtime in (MLX, get_runtime("generic")):  # the runtime refuses it, and so does the exporter by itself
        with pytest.raises(ExportError, match=r"model\.layers\.0\.self_attn\.q_proj cannot be"):
            get_exporter("mlx").export(plan, model, runtime)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "gpt_neox", "abacus"])
def test_architectures_that_mlx_lm_lacks_or_names_otherwise(architecture: str) -> None:
    model = example_model(architecture=architecture)
    with pytest.raises(ExportError, match=f"{architecture} is not among what mlx-lm is known to load"):
        exported(uniform(model, "INT4_G64"), model)


def test_experts_are_one_stacked_module_a_projection() -> None:
    model = mixture_model()
    plan = {layer.name: get_format({"down_proj": "INT8_G64"}.get(layer.kind, "INT4_G32")) for layer in model.layers}
    entries = exported(plan, model)
    assert {name for name in entries if "." in name} == {
        f"model.layers.0.mlp.switch_mlp.{kind}" for kind in ("gate_proj", "up_proj", "down_proj")
    }
    assert entries["model.layers.0.mlp.switch_mlp.down_proj"]["bits"] == 8
    plan[model.layers[0].name] = get_format("INT8_G64")
    with pytest.raises(ExportError, match="rule R1"):
        exported(plan, model)
    with pytest.raises(ExportError, match=r"stacks .*experts\.0\.gate_proj and .*experts\.1\.gate_proj"):
        get_exporter("mlx").export(plan, model, get_runtime("generic"))


def test_numbered_projections_of_mixtral_have_mlx_lms_names() -> None:
    layers = tuple(
        Layer(f"model.layers.0.block_sparse_moe.experts.{expert}.{kind}", kind, 0, expert, 64, 64, 0.5)
        for expert in range(2)
        for kind in ("w1", "w3", "w2")
    )
    model = ExportedModel("e" * 64, "a/mixtral", "mixtral", "bfloat16", layers)
    names = {"w1": "INT2_G32", "w3": "INT3_G32", "w2": "INT5_G32"}
    entries = exported({layer.name: get_format(names[layer.kind]) for layer in layers}, model)
    parent = "model.layers.0.block_sparse_moe.switch_mlp"
    assert {kind: entries[f"{parent}.{kind}"]["bits"] for kind in ("gate_proj", "up_proj", "down_proj")} == {
        "gate_proj": 2,
        "up_proj": 3,
        "down_proj": 5,
    }


def test_a_dense_block_of_qwen2_moe_is_refused() -> None:
    experts = tuple(replace(layer, name=layer.name.replace("layers.0", "layers.1"), block=1) for layer in mixture_model().layers)
    dense = tuple(layer for layer in example_model(blocks=1, head=False).layers)
    model = ExportedModel("e" * 64, "a/mixture", "qwen2_moe", "bfloat16", dense + experts)
    with pytest.raises(ExportError, match="block 0 of a/mixture is dense"):
        exported(uniform(model, "INT4_G32"), model)
    assert exported(uniform(model, "INT4_G32"), replace(model, architecture="qwen3_moe"))


def test_nothing_quantized_and_foreign_dtypes() -> None:
    first = MODEL.layers[0].name
    with pytest.raises(ExportError, match="nothing to export"):
        exported({first: get_format("BF16")})
    with pytest.raises(ExportError, match="stay BF16, not FP16"):
        exported({**MIXED, "model.layers.1.self_attn.o_proj": get_format("FP16")})
