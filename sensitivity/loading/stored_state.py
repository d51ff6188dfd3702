"""The tensors of a checkpoint of safetensors by name, read one at a time: one larger than memory can be written anew."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

from safetensors import safe_open
from torch import Tensor

from sensitivity.checkpoint.configuration import from_json
from sensitivity.checkpoint.inventory import by_full_name, take_inventory
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.untrusted import read_json


@final
class StoredState(Mapping[str, Tensor]):
    """The parameters of a checkpoint, each read when it is asked for.

    Of the files that its index names and no others. A head that is tied to the embedding is there once, what is no parameter
    (masks, rotary tables) is not, and tensors of a bare model have the prefix that the whole model gives them.
    """

    def __init__(self, directory: Path) -> None:
        """The checkpoint in a directory.

        Raises:
            CheckpointError: its configuration or headers cannot be read, or contradict each other.
        """
        tensors = [tensor for file in read_directory(directory) for tensor in file.tensors]
        configuration = from_json(read_json(directory / "config.json"), directory / "config.json")
        inventory = take_inventory(tensors, configuration)
        parameters = {f"{layer.name}.weight" for layer in inventory.layers} | inventory.rest.keys()
        named = by_full_name(tensors, configuration)
        self._stored: dict[str, StoredTensor] = {name: tensor for name, tensor in named.items() if name in parameters}

    def __getitem__(self, name: str) -> Tensor:
        stored = self._stored[name]
        with safe_open(stored.file, framework="pt") as file:
            return file.get_tensor(stored.name)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)
