"""transformers with compressed-tensors: the first forward pass decodes the weights to the model's dtype, bfloat16.

transformers stacks the experts of a block while it loads, so they are no modules: what they were decoded with is asked of the
library's own matching of names.
"""

import json
from pathlib import Path

import torch
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from compressed_tensors.utils.match import match_name
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("transformers", "compressed-tensors")


def load(directory: Path) -> Loaded:
    """Layers by their schemes. Logits in float32."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, local_files_only=True).eval()
    schemes = _schemes_of_experts(directory)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            schemes[name] = getattr(module, "quantization_scheme", None)
    tokens = torch.from_numpy(fixed_tokens())
    with torch.no_grad():
        model(input_ids=tokens[:, :1])
        logits = nn.Module.float(model)(input_ids=tokens).logits
    return Loaded({name: _in_words(scheme) for name, scheme in schemes.items()}, logits.numpy())


def _schemes_of_experts(directory: Path) -> dict[str, QuantizationScheme | None]:
    config = json.loads((directory / "config.json").read_text())["quantization_config"]
    groups = QuantizationConfig.model_validate(config).config_groups.values()
    with safe_open(directory / "model.safetensors", framework="pt") as file:
        names = {name.rpartition(".")[0] for name in file.keys() if ".experts." in name}  # noqa: SIM118  (no mapping)
    return {
        name: next((scheme for scheme in groups if any(match_name(name, target) for target in scheme.targets)), None)
        for name in names
    }


def _in_words(scheme: QuantizationScheme | None) -> dict[str, object]:
    if scheme is None:
        return {}
    weights = scheme.weights.model_dump(mode="json")
    return {key: weights[key] for key in ("num_bits", "type", "symmetric", "strategy", "group_size")}


if __name__ == "__main__":
    main(load, *LIBRARIES)
