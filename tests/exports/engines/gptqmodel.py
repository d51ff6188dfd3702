"""GPTQModel on its torch kernel, which decodes codes times scales; the loaded model in float32.

Its loader asks for a padding token, which the tiny models' tokenizer of 256 bytes does not have: it reads a copy of the
directory (links) whose configuration names one.
"""

import json
import tempfile
from pathlib import Path

import torch
from torch import nn

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("gptqmodel", "transformers")


def load(directory: Path) -> Loaded:
    """Linear modules by path: bits and group size where they are quantized. Logits in float32."""
    from gptqmodel import BACKEND, GPTQModel  # here, because it prints to the standard output

    with tempfile.TemporaryDirectory() as place:
        _with_padding_token(directory, Path(place))
        model = GPTQModel.load(place, device="cpu", dtype=torch.bfloat16, backend=BACKEND.GPTQ_TORCH).model
    layers = {name: _scheme(module) for name, module in model.named_modules() if _is_linear(module)}
    with torch.no_grad():
        logits = nn.Module.float(model)(input_ids=torch.from_numpy(fixed_tokens())).logits
    return Loaded(layers, logits.numpy())


def _with_padding_token(directory: Path, place: Path) -> None:
    for file in directory.iterdir():
        if file.name != "config.json":
            (place / file.name).symlink_to(file.resolve())
    config = json.loads((directory / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({"pad_token_id": 0} | {k: v for k, v in config.items() if v is not None}))


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or hasattr(module, "qweight")


def _scheme(module: nn.Module) -> dict[str, object]:
    if not hasattr(module, "qweight"):
        return {}
    return {"bits": module.bits, "group_size": module.requested_group_size, "sym": module.sym, "desc_act": module.desc_act}


if __name__ == "__main__":
    main(load, *LIBRARIES)
