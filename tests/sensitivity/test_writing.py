"""Written checkpoints, loaded by transformers: the weights and logits are those of our fake-quantized model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from planner.exports import ExportedModel, get_exporter
from planner.runtimes import get_runtime
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.safetensors_layout import SHARD_BYTES
from sensitivity.errors import CheckpointError, CorruptCheckpointError, UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing import compressed_tensors_size_bits
from sensitivity.formats.registry import get_format
from sensitivity.loading.stored_state import StoredState
from sensitivity.rounding import fake_quantize
from sensitivity.writing import Files, write_checkpoint
from tests.planner.exports.example import example_model, mixed_plan
from tests.tiny_models import tiny_llama, tiny_qwen3_moe

MODEL = example_model()
MIXED = mixed_plan(MODEL)
# transformers 5.24 makes room for unpacked zero points (compressed-tensors does not pack them on the meta device), so it
# loads no checkpoint with asymmetric layers; vLLM does. Those are loaded with the library alone, below.
PLAN = {name: get_format("INT3_G32") if not fmt.symmetric else fmt for name, fmt in MIXED.items()}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    logging.disable_progress_bar()
    logging.set_verbosity_error()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("source") / "llama", vocab=256)


def config_of(source: Path) -> dict[str, object]:
    found = json.loads((source / "config.json").read_text())
    assert isinstance(found, dict)
    return found


def quantization_config(plan: dict[str, CandidateFormat], model: ExportedModel = MODEL) -> dict[str, object]:
    found = get_exporter("compressed-tensors").export(plan, model, get_runtime("vllm"))["quantization_config"]
    assert isinstance(found, dict)
    return found


def load(directory: Path, dtype: torch.dtype) -> nn.Module:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)
    assert isinstance(model, nn.Module)
    return model.eval()


def logits(model: nn.Module) -> Tensor:
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        found = model(input_ids=tokens).logits
    assert isinstance(found, Tensor)
    return found


def fake_quantized(source: Path, plan: dict[str, CandidateFormat], dtype: torch.dtype) -> nn.Module:
    model = load(source, dtype)
    for name, fmt in plan.items():
        linear = model.get_submodule(name)
        linear.weight = nn.Parameter(fake_quantize(linear.get_parameter("weight"), fmt).to(dtype), requires_grad=False)
    return model


def write(source: Path, directory: Path, plan: dict[str, CandidateFormat], shard_bytes: int = SHARD_BYTES) -> Path:
    state = load_file(source / "model.safetensors")
    return write_checkpoint(
        state,
        plan,
        directory,
        config=config_of(source) | {"quantization_config": quantization_config(plan)},
        companions=sorted(source.glob("token*")),
        files=Files(shard_bytes=shard_bytes),
    )


def test_transformers_loads_the_fake_quantized_model(source: Path, tmp_path: Path) -> None:
    loaded = load(write(source, tmp_path / "mixed", PLAN), torch.bfloat16)
    ours = fake_quantized(source, PLAN, torch.bfloat16)
    assert torch.equal(logits(loaded), logits(ours))
    for name in PLAN:  # the first forward pass has decompressed the weights
        assert torch.equal(
            loaded.get_submodule(name).get_parameter("weight"), ours.get_submodule(name).get_parameter("weight")
        ), name


def test_the_library_loads_asymmetric_layers_too(source: Path, tmp_path: Path) -> None:
    directory = write(source, tmp_path / "asymmetric", MIXED)
    model = load(source, torch.bfloat16)
    config = QuantizationConfig.model_validate(quantization_config(MIXED))
    apply_quantization_config(model, config, show_progress=False)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.load_state_dict(load_file(directory / "model.safetensors"))  # strict: names, shapes
    compressor.decompress_model(model)
    assert torch.equal(logits(model), logits(fake_quantized(source, MIXED, torch.bfloat16)))


def test_in_float32_the_weights_are_exact(source: Path, tmp_path: Path) -> None:
    # The library decodes its 4-bit floats to bfloat16 whatever the model's dtype, and then cannot run them in float32.
    plan = {name: fmt for name, fmt in PLAN.items() if not fmt.name.endswith("FP4")}
    loaded = load(write(source, tmp_path / "float32", plan), torch.float32)
    ours = fake_quantized(source, plan, torch.float32)
    assert torch.equal(logits(loaded), logits(ours))


def test_the_file_has_the_predicted_bytes(source: Path, tmp_path: Path) -> None:
    directory = write(source, tmp_path / "sizes", PLAN)
    layers = {layer.name: layer for layer in MODEL.layers}
    found = dict.fromkeys(PLAN, 0)
    for key, tensor in load_file(directory / "model.safetensors").items():
        layer = key.rpartition(".")[0]
        if layer in found:
            found[layer] += tensor.numel() * tensor.element_size() * 8
    assert found == {name: compressed_tensors_size_bits(fmt, layers[name].shape) for name, fmt in PLAN.items()}


def test_companions_and_configuration_come_along(source: Path, tmp_path: Path) -> None:
    directory = write(source, tmp_path / "whole", PLAN)
    assert {path.name for path in directory.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    written = config_of(directory)
    assert written.pop("quantization_config") == quantization_config(PLAN)
    assert written == config_of(source)
    with safe_open(directory / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_shards_hold_the_same_tensors(source: Path, tmp_path: Path) -> None:
    whole = load_file(write(source, tmp_path / "one", PLAN) / "model.safetensors")
    directory = write(source, tmp_path / "many", PLAN, shard_bytes=20_000)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    files = sorted(directory.glob("*.safetensors"))
    assert len(files) > 2
    assert set(index["weight_map"]) == set(whole)
    assert index["metadata"]["total_size"] == sum(tensor.numel() * tensor.element_size() for tensor in whole.values())
    for name, tensor in whole.items():
        with safe_open(directory / index["weight_map"][name], framework="pt") as file:
            assert torch.equal(file.get_tensor(name).float(), tensor.float())
    assert torch.equal(logits(load(directory, torch.bfloat16)), logits(load(tmp_path / "one", torch.bfloat16)))


def test_a_float32_state_dict_and_the_files_themselves_give_the_same_checkpoint(source: Path, tmp_path: Path) -> None:
    options = {"config": config_of(source) | {"quantization_config": quantization_config(PLAN)}}
    state = load(source, torch.float32).state_dict()
    files = StoredState(source)
    assert len(files) == len(list(files))
    first = write_checkpoint(state, PLAN, tmp_path / "memory", **options)  # type: ignore[arg-type]
    second = write_checkpoint(files, PLAN, tmp_path / "files", **options)  # type: ignore[arg-type]
    one, two = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert set(one) == set(two)
    assert all(torch.equal(one[name].float(), two[name].float()) and one[name].dtype == two[name].dtype for name in one)


def test_a_tied_head_is_written_once(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "tied", tied=True)
    model = example_model(head=False)
    directory = write_checkpoint(
        load(source, torch.bfloat16).state_dict(),
        PLAN,
        tmp_path / "written",
        config=config_of(source) | {"quantization_config": quantization_config(PLAN, model)},
    )
    names = set(load_file(directory / "model.safetensors"))
    assert len(names & {"lm_head.weight", "model.embed_tokens.weight"}) == 1
    assert torch.equal(logits(load(directory, torch.bfloat16)), logits(fake_quantized(source, PLAN, torch.bfloat16)))


@pytest.mark.parametrize(("experts", "others"), [("INT4_G32", "INT8_CHANNEL"), ("INT8_G32", "FP8")])
def test_transformers_loads_a_mixture(tmp_path: Path, experts: str, others: str) -> None:
    source = tiny_qwen3_moe(tmp_path / "source")
    found = describe(str(source))
    model = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    names = {layer.name: experts if layer.expert is not None else others for layer in found.layers if layer.kind != "lm_head"}
    plan = {name: get_format(fmt) for name, fmt in names.items()}
    state = StoredState(source)
    config = quantization_config(plan, model)
    directory = write_checkpoint(state, plan, tmp_path / "written", config=config_of(source) | {"quantization_config": config})
    reference = tmp_path / "reference"
    shutil.copytree(source, reference)
    rounded = {name.removesuffix(".weight"): tensor for name, tensor in state.items()}
    rounded.update({name: fake_quantize(rounded[name], fmt).bfloat16() for name, fmt in plan.items()})
    save_file({name: rounded[name.removesuffix(".weight")] for name in state}, reference / "model.safetensors", {"format": "pt"})
    assert torch.equal(logits(load(directory, torch.bfloat16)), logits(load(reference, torch.bfloat16)))


def test_nothing_is_left_behind_when_a_layer_fails(source: Path, tmp_path: Path) -> None:
    state = load_file(source / "model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    bad = {**state, f"{name}.weight": torch.full_like(state[f"{name}.weight"], float("nan"))}
    options = {"config": config_of(source) | {"quantization_config": quantization_config(PLAN)}}
    with pytest.raises(CorruptCheckpointError, match="not finite"):
        write_checkpoint(bad, PLAN, tmp_path / "bad", **options)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedShapeError, match="NF4"):
        write_checkpoint(state, {name: get_format("NF4_G64")}, tmp_path / "bad", **options)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no weight in the model"):
        write_checkpoint(state, {"model.layers.9.x": get_format("INT4_G64")}, tmp_path / "bad", **options)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="cannot write"):
        write_checkpoint(state, PLAN, tmp_path / "bad", companions=[tmp_path / "absent"], **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_never_touched(source: Path, tmp_path: Path) -> None:
    directory = tmp_path / "taken"
    directory.mkdir()
    (directory / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        write(source, directory, PLAN)
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]
    shutil.rmtree(directory)
    directory.mkdir()
    assert write(source, directory, PLAN) == directory


def test_planned_layers_are_the_models() -> None:
    assert all(isinstance(layer, Layer) for layer in MODEL.layers)
    assert set(PLAN) == {layer.name for layer in MODEL.layers if layer.name != "lm_head"}
