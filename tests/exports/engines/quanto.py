"""optimum-quanto: the model as ``QuantizedModelForCausalLM`` loads it; logits in float32 of what quanto decodes.

It is not run as loaded: quanto 0.2.7 calls a kernel of torch for bfloat16 and int8 that ends torch 2.13 on this processor.
"""

from pathlib import Path

import torch
from optimum.quanto import QTensor, QuantizedModelForCausalLM
from torch import nn

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("optimum-quanto", "transformers")


@torch.no_grad()
def load(directory: Path) -> Loaded:
    """Linear modules by quanto's type of their weights and its group size."""
    model = QuantizedModelForCausalLM.from_pretrained(directory)._wrapped
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    layers = {name: _scheme(module) for name, module in linears.items()}
    for name, module in linears.items():
        if isinstance(module.weight, QTensor):
            model.set_submodule(name, _decoded(module))
    return Loaded(layers, nn.Module.float(model)(input_ids=torch.from_numpy(fixed_tokens())).logits.numpy())


def _decoded(module: nn.Linear) -> nn.Linear:
    plain = nn.Linear(module.in_features, module.out_features, device="meta")
    plain.weight, plain.bias = nn.Parameter(module.weight.dequantize()), module.bias
    return plain


def _scheme(module: nn.Linear) -> dict[str, object]:
    if not isinstance(module.weight, QTensor):
        return {}
    return {"weights": module.weight.qtype.name, "group_size": module.weight_group_size}


if __name__ == "__main__":
    main(load, *LIBRARIES)
