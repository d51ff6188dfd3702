"""GGUF: types as the ``gguf`` package reads them, the model as transformers loads it from the same file."""

from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from transformers import AutoConfig, AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("gguf", "transformers")
UNQUANTIZED = ("F32", "F16", "BF16")


@torch.no_grad()
def load(directory: Path) -> Loaded:
    """Tensors by name: their type where they are quantized."""
    reader = GGUFReader(directory / "model.gguf")
    kinds = {tensor.name.removesuffix(".weight"): tensor.tensor_type.name for tensor in reader.tensors}
    layers = {name: {} if kind in UNQUANTIZED else {"type": kind} for name, kind in kinds.items()}
    config = AutoConfig.from_pretrained(directory, gguf_file="model.gguf")
    for key in ("expert_feed_forward_length", "expert_shared_feed_forward_length"):  # of which transformers reads neither
        field = reader.fields.get(f"{reader.fields['general.architecture'].contents()}.{key}")
        if field is not None:
            setattr(config, f"{'moe' if 'shared' not in key else 'shared_expert'}_intermediate_size", field.contents())
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file="model.gguf", config=config, dtype=torch.float32)
    logits = model.eval()(input_ids=torch.from_numpy(fixed_tokens())).logits
    return Loaded(layers, np.asarray(logits.numpy(), np.float32))


if __name__ == "__main__":
    main(load, *LIBRARIES)
