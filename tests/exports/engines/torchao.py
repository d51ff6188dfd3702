"""transformers with torchao: what class each weight is of, and logits of what torchao decodes.

The model runs as it was loaded first, in bfloat16. Then each weight is decoded by its class, and the logits are float32.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("transformers", "torchao")


@torch.no_grad()
def load(directory: Path) -> Loaded:
    """Modules by their weights' class, elements and groups; the stacked experts of a block are one module."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", local_files_only=True).eval()
    layers = {name.rpartition(".")[0]: _scheme(weight) for name, weight in model.named_parameters() if weight.dim() > 1}
    tokens = torch.from_numpy(fixed_tokens())
    model(input_ids=tokens)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if hasattr(weight, "qdata"):
                setattr(module, name, nn.Parameter(weight.dequantize(), requires_grad=False))
    return Loaded(layers, nn.Module.float(model)(input_ids=tokens).logits.numpy())


def _scheme(weight: Any) -> dict[str, object]:
    if not hasattr(weight, "qdata"):
        return {}
    elements = getattr(weight, "target_dtype", weight.qdata.dtype)
    rows, columns = weight.block_size[-2:]
    return {
        "class": type(weight).__name__,
        "elements": str(elements).removeprefix("torch."),
        "group_size": None if columns == weight.shape[-1] else columns,
        "one_scale": rows == weight.shape[-2],
    }


if __name__ == "__main__":
    main(load, *LIBRARIES)
