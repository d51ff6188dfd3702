"""ModelOpt has no loader of its own checkpoints (its users are vLLM, SGLang and TensorRT-LLM), so its parts are put together.

``hf_quant_config.json`` goes through ModelOpt's own conversion, which gives each layer its scheme; the weights are decoded by
ModelOpt's tensor classes and run by transformers in float32.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from modelopt.torch.export.convert_hf_config import convert_hf_quant_config_format
from modelopt.torch.quantization.qtensor import FP8QTensor, NVFP4QTensor
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("nvidia-modelopt", "transformers")


def load(directory: Path) -> Loaded:
    """Layers by ModelOpt's reading of its file. Logits in float32."""
    schemes = _schemes(directory)
    tensors = load_file(directory / "model.safetensors")
    layers: dict[str, dict[str, Any]] = {}
    dense: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part == "weight" and tensor.dim() == 2:
            scheme = schemes.get(layer, {})
            layers[layer] = scheme
            dense[name] = _decoded(layer, tensors, scheme) if scheme else tensor.float()
        elif not part.startswith("weight_scale"):
            dense[name] = tensor
    return Loaded(layers, _logits(directory, dense))


def _schemes(directory: Path) -> dict[str, dict[str, Any]]:
    """Scheme of each listed layer; both files must give the same."""
    converted = convert_hf_quant_config_format(json.loads((directory / "hf_quant_config.json").read_text()))
    merged = json.loads((directory / "config.json").read_text())["quantization_config"]
    assert converted["quantized_layers"] == merged["quantized_layers"]
    assert (converted["quant_algo"], converted["quant_method"]) == (merged["quant_algo"], merged["quant_method"])
    found: dict[str, dict[str, Any]] = {}
    for group in converted["config_groups"].values():
        for layer in group["targets"]:
            assert layer not in found
            weights = group["weights"]
            found[layer] = {"algorithm": converted["quantized_layers"][layer]["quant_algo"], **weights}
    return found


def _decoded(layer: str, tensors: Mapping[str, Tensor], scheme: Mapping[str, Any]) -> Tensor:
    weight, scale = tensors[f"{layer}.weight"], tensors[f"{layer}.weight_scale"]
    if scheme["num_bits"] == 8:
        assert (weight.dtype, scale.dtype) == (torch.float8_e4m3fn, torch.float32)
        decoded: Tensor = FP8QTensor(weight.shape, torch.float32, weight).dequantize(scale=scale.unsqueeze(1))
        return decoded
    assert (weight.dtype, scale.dtype) == (torch.uint8, torch.float8_e4m3fn)
    quantized = NVFP4QTensor(torch.Size((weight.shape[0], 2 * weight.shape[1])), torch.float32, weight)
    double = tensors[f"{layer}.weight_scale_2"]
    found: Tensor = quantized.dequantize(scale=scale, double_scale=double, block_sizes={-1: scheme["group_size"]})
    return found


def _logits(directory: Path, dense: dict[str, Tensor]) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        save_file({name: tensor.contiguous() for name, tensor in dense.items()}, place / "model.safetensors", {"format": "pt"})
        config = json.loads((directory / "config.json").read_text())
        del config["quantization_config"]
        (place / "config.json").write_text(json.dumps(config))
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, local_files_only=True).eval()
        with torch.no_grad():
            return model(input_ids=torch.from_numpy(fixed_tokens())).logits.numpy()


if __name__ == "__main__":
    main(load, *LIBRARIES)
