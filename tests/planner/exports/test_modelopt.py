"""The ModelOpt export: both files, what vLLM would read otherwise, and the tensors of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.target import Json
from planner.runtimes import get_runtime
from planner.worker.assignment_checkpoints import write_assignment
from planner.worker.checkpoint_writers.registry import writer_for
from sensitivity.checkpoint import describe
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_modelopt import modelopt_refusal, modelopt_size_bits
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import load_model
from sensitivity.rounding import get_rounding
from sensitivity.rounding.packing_modelopt import modelopt
from tests.planner.exports.every_runtime import MODELS
from tests.tiny_models import tiny_llama

MODEL = MODELS["dense"]
RUNTIME = get_runtime("modelopt")
ATTENTION = [layer.name for layer in MODEL.layers[:4]]
DOWN = "model.layers.0.mlp.down_proj"
Edit = Callable[[Any], object]


def plan_of(**formats: str) -> dict[str, CandidateFormat]:
    return {f"model.layers.0.{path.replace('__', '.')}": get_format(fmt) for path, fmt in formats.items()}


MIXED = {**dict.fromkeys(ATTENTION[:3], get_format("FP8")), **plan_of(self_attn__o_proj="BF16", mlp__down_proj="NVFP4")}


def exported(plan: dict[str, CandidateFormat], model: ExportedModel = MODEL) -> Json:
    return get_exporter("modelopt").export(plan, model, RUNTIME)


def test_both_files_list_every_shard_and_nothing_else() -> None:
    document: Any = exported(MIXED)
    layers: Json = {name: {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"} for name in ATTENTION[:3]}
    layers[DOWN] = {"quant_algo": "W4A16_NVFP4", "group_size": 16}
    assert document["hf_quant_config"]["quantization"] == {
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": None,
        "quantized_layers": layers,
    }
    assert document["quantization_config"]["quantized_layers"] == layers
    assert document["quantization_config"]["quant_method"] == "modelopt"


def _one_file_differs(document: Any) -> None:
    document["hf_quant_config"]["quantization"]["quantized_layers"].pop(DOWN)


def _in_both(edit: Edit) -> Edit:
    def change(document: Any) -> None:
        for part in (document["hf_quant_config"]["quantization"], document["quantization_config"]):
            edit(part["quantized_layers"])

    return change


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (_one_file_differs, "two-files"),
        (lambda document: document["quantization_config"].update(ignore=["model.layers.0*"]), "two-files"),
        (lambda document: document["hf_quant_config"]["quantization"].update(quantized_layers={}), "schema"),
        (lambda document: document["hf_quant_config"]["quantization"].update(quant_algo="FP8"), "schema"),
        (_in_both(lambda layers: layers.pop(ATTENTION[1])), "R1"),
        (_in_both(lambda layers: layers.update({ATTENTION[1]: layers[DOWN]})), "R1"),
        (_in_both(lambda layers: layers.update({DOWN: {"quant_algo": "W4A16_AWQ"}})), "unknown-scheme"),
        (_in_both(lambda layers: layers.update({DOWN: {"quant_algo": "W4A16_NVFP4", "group_size": 32}})), "unknown-scheme"),
        (_in_both(lambda layers: layers.update({"model.layers.0.self_attn.qkv_proj": layers[DOWN]})), "unmatched-target"),
    ],
)
def test_what_vllm_would_read_otherwise_or_pass_over_is_refused(edit: Edit, rule: str) -> None:
    document = json.loads(json.dumps(exported(MIXED)))
    edit(document)
    with pytest.raises(ExportError) as caught:
        get_exporter("modelopt").read(document, MODEL)
    assert caught.value.fields["rule"] == rule


def test_experts_of_a_block_are_one_module() -> None:
    model = MODELS["mixture"]
    experts = [layer.name for layer in model.layers if layer.expert is not None and layer.block == 0]
    document = json.loads(json.dumps(exported(dict.fromkeys(experts, get_format("NVFP4")), model)))
    _in_both(lambda layers: layers.pop(experts[-1]))(document)
    with pytest.raises(ExportError, match="one module") as caught:
        get_exporter("modelopt").read(document, model)
    assert caught.value.fields["layers"] == experts


def test_per_tensor_fp8_is_refused_with_its_reason() -> None:
    with pytest.raises(ExportError, match="calibrated scales of the activations"):
        exported(plan_of(mlp__down_proj="FP8_TENSOR"))
    with pytest.raises(UnsupportedShapeError, match="no INT4_G64"):
        modelopt_size_bits(get_format("INT4_G64"), (64, 64))
    with pytest.raises(UnsupportedShapeError, match="divisible by 16"):
        modelopt(get_rounding("rtn").encode(torch.randn(8, 24), get_format("NVFP4")))


@pytest.mark.parametrize(
    "fmt", [fmt for fmt in all_formats() if modelopt_refusal(fmt, (24, 32)) is None], ids=lambda fmt: fmt.name
)
def test_sizes_are_those_of_the_tensors(fmt: CandidateFormat) -> None:
    tensors = modelopt(get_rounding("rtn").encode(torch.randn(24, 32), fmt)).values()
    assert modelopt_size_bits(fmt, (24, 32)) == 8 * sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("runtime", ["modelopt", "vllm"])
def test_shards_of_a_fused_projection_have_one_global_scale_of_nvfp4_in_the_file(runtime: str, tmp_path: Path) -> None:
    """vLLM keeps one for the fused module, whatever the shards bring."""
    model = load_model(describe(str(tiny_llama(tmp_path / "llama", blocks=1))))
    found, profile = model.description, get_runtime(runtime)
    plan = {layer.name: get_format("NVFP4") for layer in found.layers if layer.block is not None}
    rounding = LayerRounding.of_assignments(model, "rtn", [plan])
    described = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    written = write_assignment(
        model,
        plan,
        get_exporter(profile.exports[0]).export(plan, described, profile),
        tmp_path / "written",
        runtime=profile,
        rounding=rounding,
        writer=writer_for(profile, None),
    )
    tensors = load_file(written / "model.safetensors")
    part = {"modelopt": "weight_scale_2", "vllm": "weight_global_scale"}[runtime]
    scales = {name: tensors[f"{name}.{part}"].item() for name in plan}
    for shards in (ATTENTION[:3], ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"]):
        assert len({scales[name] for name in shards}) == 1
        greatest = max(model.linears[name].weight.abs().max().item() for name in shards)
        expected = greatest / 2688 if runtime == "modelopt" else 2688 / greatest
        assert scales[shards[0]] == pytest.approx(expected)
    assert scales[ATTENTION[3]] != scales[ATTENTION[0]]
    if runtime == "modelopt":
        config = json.loads((written / "config.json").read_text())
        assert (
            json.loads((written / "hf_quant_config.json").read_text())["quantization"]["quantized_layers"]
            == (config["quantization_config"]["quantized_layers"])
        )
