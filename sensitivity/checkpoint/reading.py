"""Describe a checkpoint from its configuration and headers: seconds for 140 GB, no weight in memory, no torch."""

from sensitivity.checkpoint.configuration import from_gguf, from_json
from sensitivity.checkpoint.description import ModelDescription, RestTensor, SourceKind
from sensitivity.checkpoint.fingerprint import fingerprint, tokenizer_files
from sensitivity.checkpoint.gguf_header import read_gguf
from sensitivity.checkpoint.gguf_names import in_checkpoint_names
from sensitivity.checkpoint.inventory import WIDTHS, Inventory, dominant_dtype, take_inventory
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.checkpoint.sources import Place, locate
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.untrusted import read_json
from sensitivity.errors import CheckpointError, CorruptCheckpointError, ModelChangedError

GGUF_REST_BITS = 16


def describe(source: str, *, revision: str | None = None) -> ModelDescription:
    """Describe a model source.

    Args:
        source: directory of safetensors, GGUF file, or id of a hub model in the local hub cache.
        revision: revision of a hub id.

    Raises:
        SourceNotFoundError: nothing is there.
        NoWeightsError: neither safetensors nor GGUF.
        UnknownArchitectureError: no family knows it.
        AlreadyQuantizedError: its weights are quantized already (a GGUF's are decoded at load instead).
        CorruptCheckpointError: configuration, header or shard cannot be read or contradict each other.
        CheckpointError: the files may not be read.
    """
    place = locate(source, revision=revision)
    try:
        return _describe_gguf(source, place) if place.kind is SourceKind.GGUF else _describe_directory(source, place)
    except OSError as error:
        msg = f"{source} cannot be read ({error}): check the files and their permissions"
        raise CheckpointError(msg) from error


def verify(description: ModelDescription) -> None:
    """Check, before a job uses the files, that they are still those that were described.

    Raises:
        ModelChangedError: they are not.
        CheckpointError: they are gone or can no longer be read.
    """
    present = describe(description.path, revision=description.revision)
    if present.fingerprint != description.fingerprint:
        msg = f"the files of {description.source} changed since they were registered: restore them, or register the model anew"
        raise ModelChangedError(msg)


def _describe_directory(source: str, place: Place) -> ModelDescription:
    files = read_directory(place.path)
    path = place.path / "config.json"
    if not path.is_file():
        msg = f"{place.path} has no config.json: copy it from the model's repository"
        raise CorruptCheckpointError(msg)
    configuration = from_json(read_json(path), path)
    tensors = [tensor for file in files for tensor in file.tensors]
    inventory, dtype = take_inventory(tensors, configuration), dominant_dtype(tensors)
    return ModelDescription(
        source=source,
        path=str(place.path),
        revision=place.revision,
        kind=place.kind,
        architecture=configuration.architecture,
        dtype=dtype,
        fingerprint=fingerprint(files, texts=[path, *tokenizer_files(place.path)]),
        blocks=configuration.blocks,
        parameters=_parameters(inventory),
        unquantized_bytes=sum(_kept_bytes(tensor, dtype) for tensor in inventory.rest.values()),
        kv_elements_per_token=inventory.kv_elements_per_token,
        vocab_size=inventory.vocab_size,
        context_length=configuration.context_length,
        layers=inventory.layers,
        heads=configuration.heads,
        kv_heads=configuration.kv_heads,
        rest=_rest(inventory),
    )


def _describe_gguf(source: str, place: Place) -> ModelDescription:
    """A GGUF is decoded at load, so what stays unquantized is reckoned at 16 bits an element, whatever the file uses."""
    header = read_gguf(place.path)
    configuration = from_gguf(header)
    inventory = take_inventory(in_checkpoint_names(header.weights.tensors, configuration), configuration)
    return ModelDescription(
        source=source,
        path=str(place.path),
        revision=place.revision,
        kind=place.kind,
        architecture=configuration.architecture,
        dtype="bfloat16",
        fingerprint=fingerprint([header.weights], texts=[]),
        blocks=configuration.blocks,
        parameters=_parameters(inventory),
        unquantized_bytes=sum(tensor.elements for tensor in inventory.rest.values()) * GGUF_REST_BITS // 8,
        kv_elements_per_token=inventory.kv_elements_per_token,
        vocab_size=inventory.vocab_size,
        context_length=configuration.context_length,
        layers=inventory.layers,
        heads=configuration.heads,
        kv_heads=configuration.kv_heads,
        rest=_rest(inventory),
        tokenizer_bytes=header.tokenizer_bytes or None,
    )


def _parameters(inventory: Inventory) -> int:
    return sum(layer.parameters for layer in inventory.layers) + sum(tensor.elements for tensor in inventory.rest.values())


def _rest(inventory: Inventory) -> tuple[RestTensor, ...]:
    return tuple(RestTensor(name, tensor.shape) for name, tensor in inventory.rest.items())


def _kept_bytes(tensor: StoredTensor, dtype: str) -> int:
    """Bytes of a tensor in a new checkpoint, where floats have the dtype that most of them have."""
    return tensor.elements * WIDTHS[dtype] if tensor.dtype in WIDTHS else tensor.nbytes
