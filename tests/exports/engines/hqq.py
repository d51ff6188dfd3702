"""The hqq library: each quantized module is an ``HQQLinear`` of the stored tensors; logits in float32 of what it decodes."""

import json
from pathlib import Path
from typing import Any

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("hqq", "transformers")


@torch.no_grad()
def load(directory: Path) -> Loaded:
    """Modules by HQQ's bits and group size. The model runs in bfloat16 as HQQ loads it first."""
    stored = {name: tensor for path in sorted(directory.glob("*.safetensors")) for name, tensor in load_file(path).items()}
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.bfloat16).eval()
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    quantized = {
        name: hqq_linear(linears[name], settings, {part: stored.pop(f"{name}.{part}") for part in ("W_q", "scale", "zero")})
        for name, settings in json.loads((directory / "hqq_plan.json").read_text())["layers"].items()
    }
    absent, unexpected = model.load_state_dict(stored, strict=False)
    assert not unexpected
    assert {name.removesuffix(".weight") for name in absent} <= {*quantized, "lm_head"}
    for name, module in quantized.items():
        model.set_submodule(name, module)
    layers = {name: _scheme(quantized.get(name)) for name in linears}
    tokens = torch.from_numpy(fixed_tokens())
    model(input_ids=tokens)
    for name, module in quantized.items():
        linears[name].weight = nn.Parameter(module.dequantize())
        model.set_submodule(name, linears[name])
    return Loaded(layers, nn.Module.float(model)(input_ids=tokens).logits.numpy())


def hqq_linear(linear: nn.Linear, settings: dict[str, int | None], tensors: dict[str, torch.Tensor]) -> Any:
    """HQQ's module of a linear's size with these tensors."""
    config = BaseQuantizeConfig(**settings)
    weight = config["weight_quant_params"]
    packing = Quantizer.bit_to_packing[weight["nbits"]]
    meta = {
        **{"nbits": weight["nbits"], "axis": weight["axis"], "group_size": weight["group_size"] or linear.in_features},
        **{"shape": linear.weight.shape, "packing": packing, "quant_scale": False, "quant_zero": False},
        **{"view_as_float": False, "compute_dtype": torch.bfloat16, "scale": tensors["scale"], "zero": tensors["zero"]},
    }
    found = HQQLinear(None, config, compute_dtype=torch.bfloat16, device="cpu")
    found.load_state_dict({"W_q": tensors["W_q"], "bias": linear.bias, "offload_meta": False, "meta": meta})
    return found


def _scheme(module: Any) -> dict[str, object]:
    return {} if module is None else {key: module.meta[key] for key in ("nbits", "group_size", "axis")}


if __name__ == "__main__":
    main(load, *LIBRARIES)
