"""optimum-quanto: ``requantize`` with the map and the tensors of the checkpoint, all in float32, where shifts are exact.

In bfloat16 quanto rounds code·scale before it takes the shift off, which alone moves logits by some per cent; and quanto 0.2.7
calls a kernel for int8 (``_weight_int8pack_mm``) at which torch 2.13 crashes. Codes are unpacked here as quanto's Python does it,
not by its C++, which it would compile first.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from optimum.quanto import QTensor, requantize
from optimum.quanto.library.extensions.cpp import ext
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("optimum-quanto", "transformers")


@torch.no_grad()
def load(directory: Path) -> Loaded:
    """Linear modules by quanto's type of their weights and its group size."""
    ext._lib = SimpleNamespace(unpack=unpack)
    files = [load_file(path) for path in sorted(directory.glob("*.safetensors"))]
    stored = {name: _wide(tensor) for file in files for name, tensor in file.items()}
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32).eval()
    requantize(model, stored, json.loads((directory / "quanto_qmap.json").read_text()), torch.device("cpu"))
    model.tie_weights()
    layers = {name: _scheme(module) for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return Loaded(layers, model(input_ids=torch.from_numpy(fixed_tokens())).logits.numpy())


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Rows of codes: those at the lowest bits first."""
    return torch.cat([packed >> place & ((1 << bits) - 1) for place in range(0, 8, bits)])


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _scheme(module: nn.Linear) -> dict[str, object]:
    if not isinstance(module.weight, QTensor):
        return {}
    return {"weights": module.weight.qtype.name, "group_size": module.weight_group_size}


if __name__ == "__main__":
    main(load, *LIBRARIES)
