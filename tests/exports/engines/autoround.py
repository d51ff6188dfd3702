"""transformers with AutoRound on its torch kernel, which decodes codes times scales of float16; the loaded model in float32."""

from pathlib import Path

import auto_round  # noqa: F401  (teaches transformers the quantization method)
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("auto-round", "transformers")


def load(directory: Path) -> Loaded:
    """Linear modules by path: bits and group size where they are quantized. Logits in float32."""
    model = AutoModelForCausalLM.from_pretrained(directory, device_map="cpu", dtype=torch.bfloat16, local_files_only=True).eval()
    layers = {name: _scheme(module) for name, module in model.named_modules() if _is_linear(module)}
    with torch.no_grad():
        logits = nn.Module.float(model)(input_ids=torch.from_numpy(fixed_tokens())).logits
    return Loaded(layers, logits.numpy())


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or hasattr(module, "qweight")


def _scheme(module: nn.Module) -> dict[str, object]:
    if not hasattr(module, "qweight"):
        return {}
    return {"bits": module.bits, "group_size": module.group_size, "columns": module.infeatures}


if __name__ == "__main__":
    main(load, *LIBRARIES)
