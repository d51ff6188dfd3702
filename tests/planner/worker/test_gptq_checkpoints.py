"""Checkpoints of GPTQModel and AutoRound, looked at without the engines: names, files, scales. tests/exports loads them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.runtimes import get_runtime
from planner.worker.assignment_checkpoints import write_assignment
from planner.worker.checkpoint_writers.autoround import half_scales
from planner.worker.checkpoint_writers.registry import writer_for
from sensitivity.checkpoint import describe
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from tests.tiny_models import tiny_mixtral


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(describe(str(tiny_mixtral(tmp_path_factory.mktemp("tiny") / "mixtral", blocks=1, experts=2))))


def written(model: LoadedModel, target: str, directory: Path, *, formats: tuple[str, str]) -> Path:
    """Experts in the first format, attention in the second."""
    found, runtime = model.description, get_runtime(target)
    layers = [layer for layer in found.layers if layer.block is not None]
    plan = {layer.name: get_format(formats[layer.expert is None]) for layer in layers}
    exported = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    return write_assignment(
        model,
        plan,
        get_exporter(target).export(plan, exported, runtime),
        directory,
        runtime=runtime,
        rounding=LayerRounding.of_assignments(model, "rtn", [plan]),
        writer=writer_for(runtime, target),
    )


@pytest.mark.parametrize(("fmt", "layout"), [("INT3_G32", "gptq"), ("INT5_G32", "gptq_p")])
def test_a_checkpoint_of_gptqmodel(mixtral: LoadedModel, tmp_path: Path, fmt: str, layout: str) -> None:
    directory = written(mixtral, "gptqmodel", tmp_path / "out", formats=("INT4_G32", fmt))
    config = json.loads((directory / "config.json").read_text())
    assert config["quantization_config"] == json.loads((directory / "quantize_config.json").read_text())
    assert config["quantization_config"]["checkpoint_format"] == layout
    tensors = load_file(directory / "model.safetensors")
    expert = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items() if ".mlp.experts.1.gate_proj." in name}
    assert {name: tensor.dtype for name, tensor in expert.items()} == {
        "qweight": torch.int32,
        "qzeros": torch.int32,
        "scales": torch.bfloat16,
        "g_idx": torch.int32,
    }
    assert "model.layers.0.mlp.gate.weight" in tensors
    assert not any("block_sparse_moe" in name or ".w1" in name for name in tensors)


def test_a_checkpoint_of_autoround(mixtral: LoadedModel, tmp_path: Path) -> None:
    directory = written(mixtral, "autoround", tmp_path / "out", formats=("INT4_G32", "BF16"))
    config = json.loads((directory / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "auto-round"
    assert "layer_config" not in config
    tensors = load_file(directory / "model.safetensors")
    assert tensors["model.layers.0.mlp.experts.1.down_proj.scales"].dtype == torch.float16
    assert "model.layers.0.mlp.experts.1.down_proj.g_idx" not in tensors
    assert tensors["model.layers.0.self_attn.q_proj.weight"].dtype == torch.bfloat16


def test_scales_are_exact_in_float16_down_to_2_to_the_minus_17() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    scales = every[torch.isfinite(every) & (every.abs() < 65504)]
    found = half_scales("a.scales", scales)
    assert found.dtype == torch.float16
    error = (found.double() - scales.double()).abs()
    assert float(error[scales.abs() >= 2.0**-17].max()) == 0.0
    assert float(error.max()) <= 2.0**-25


def test_a_scale_that_float16_does_not_reach_is_refused_by_the_layers_name() -> None:
    with pytest.raises(ExportError, match=r"^model\.layers\.0\.q_proj has a scale of 1\.31e\+05"):
        half_scales("model.layers.0.q_proj.scales", torch.tensor([1.0, -(2.0**17)], dtype=torch.bfloat16))
