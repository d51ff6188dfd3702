"""The weights that a plan is for, whatever their checkpoint looks like: tensors by name, configuration, files beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensitivity.checkpoint import SourceKind
from sensitivity.checkpoint.untrusted import read_json
from sensitivity.loading import LoadedModel
from sensitivity.loading.stored_state import StoredState

COMPANIONS = ("tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt", "generation_config.json", "chat_template*")


@dataclass(frozen=True, slots=True)
class CheckpointSource:
    """What a new checkpoint is written from.

    Attributes:
        state: tensors by full name; the weight of a layer is ``<layer>.weight``, transposed where the architecture keeps its
            layers in Conv1D modules.
        config: ``config.json``, without an earlier ``quantization_config``.
        companions: files to copy beside the weights: tokenizer, generation settings.
    """

    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    companions: list[Path]


def open_source(model: LoadedModel, scratch: Path) -> CheckpointSource:
    """The checkpoint that a model was loaded from.

    Safetensors are read from their files, a GGUF is decoded.

    Args:
        model: loaded from it.
        scratch: an empty folder for files that have to be made.

    Raises:
        CheckpointError: the files can no longer be read, or there is no tokenizer in a GGUF.
    """
    if model.description.kind is SourceKind.GGUF:
        return _decoded(model, scratch)
    path = Path(model.description.path)
    config = read_json(path / "config.json")
    config.pop("quantization_config", None)
    companions = [file for pattern in COMPANIONS for file in sorted(path.glob(pattern)) if file.is_file()]
    return CheckpointSource(StoredState(path), config, companions)


def _decoded(model: LoadedModel, scratch: Path) -> CheckpointSource:
    model.tokenizer.save_pretrained(scratch)
    config = model.module.config.to_dict()  # type: ignore[operator, union-attr]
    config |= {"dtype": model.description.dtype, "architectures": [type(model.module).__name__], "use_cache": True}
    config.pop("quantization_config", None)
    return CheckpointSource(_state(model), config, sorted(file for file in scratch.iterdir() if file.is_file()))


def _state(model: LoadedModel) -> dict[str, Tensor]:
    """The parameters by the names that the description gives layers; one that is in two places is there once.

    transformers keeps some layers under other paths than checkpoints do (Mixtral's ``block_sparse_moe`` is its ``mlp``).
    """
    layers = {id(linear): name for name, linear in model.linears.items()}
    paths = {path: layers[id(module)] for path, module in model.module.named_modules() if id(module) in layers}
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in model.module.state_dict().items():
        path, _, part = name.rpartition(".")
        place = tensor.data_ptr(), tensor.shape
        if place not in seen:
            seen.add(place)
            found[f"{paths.get(path, path)}.{part}"] = tensor
    return found
