"""Which stored tensors are layers, and what everything else weighs. No torch here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.configuration import MOST, Configuration
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.fingerprint import sampled
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.errors import AlreadyQuantizedError, CorruptCheckpointError

WIDTHS: Final = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""Bytes of an element by floating dtype."""
FLOATS: Final = frozenset(WIDTHS)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a checkpoint holds.

    Attributes:
        layers: quantizable layers in model order.
        rest: everything else that is a parameter, by full name, tied tensors once.
        kv_elements_per_token: elements that one token adds to the K and V caches over all blocks.
        vocab_size: size of the vocabulary.
    """

    layers: tuple[Layer, ...]
    rest: Mapping[str, StoredTensor]
    kv_elements_per_token: int
    vocab_size: int


def take_inventory(tensors: Sequence[StoredTensor], configuration: Configuration) -> Inventory:
    """Sort tensors (in Hugging Face's naming) into layers and the rest.

    Every block must have its attention and either its dense MLP or all its experts: a matrix that is missing would
    otherwise be loaded as random numbers. K and V sizes come from the stored shapes of their projections.

    Raises:
        CorruptCheckpointError: a matrix is missing, empty, or of a shape that cannot be.
        AlreadyQuantizedError: a layer is stored as integers or in 8-bit floats.
    """
    named = by_full_name(tensors, configuration)
    layers = [layer for block in range(configuration.blocks) for layer in _block(named, configuration, block)]
    head = _head(named, configuration)
    layers += [head] if head else []
    taken = {f"{layer.name}.weight" for layer in layers} | _not_parameters(named, configuration)
    _refuse_further_blocks(named, configuration)
    return Inventory(
        layers=tuple(layers),
        rest={name: tensor for name, tensor in named.items() if name not in taken},
        kv_elements_per_token=_kv_elements(layers, configuration),
        vocab_size=configuration.vocab_size or _rows(_embedding(named, configuration)),
    )


def dominant_dtype(tensors: Sequence[StoredTensor]) -> str:
    """The floating dtype that most bytes are stored in."""
    weights: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in FLOATS:
            weights[tensor.dtype] += tensor.nbytes
    return weights.most_common(1)[0][0] if weights else "bfloat16"


def by_full_name(tensors: Sequence[StoredTensor], configuration: Configuration) -> dict[str, StoredTensor]:
    """Tensors by full name: those of a bare model get its prefix.

    Raises:
        CorruptCheckpointError: a tensor without an element, or one that is there with and without the prefix.
    """
    family = configuration.family
    named: dict[str, StoredTensor] = {}
    for tensor in tensors:
        if not tensor.elements:
            msg = f"{tensor.file}: tensor {tensor.name!r} of shape {tensor.shape} is empty; download or export the model again"
            raise CorruptCheckpointError(msg)
        whole = tensor.name.startswith((f"{family.base}.", f"{family.head}.", "lm_head."))
        name = tensor.name if whole else f"{family.base}.{tensor.name}"
        if name in named:
            msg = f"{tensor.file}: {tensor.name!r} and {named[name].name!r} are one tensor twice; export the model again"
            raise CorruptCheckpointError(msg)
        named[name] = tensor
    return named


def _block(named: Mapping[str, StoredTensor], configuration: Configuration, block: int) -> Iterator[Layer]:
    family = configuration.family
    path = f"{family.blocks}.{block}"
    for role in family.attention:
        yield _layer(named, configuration, f"{path}.{role}", block=block)
    experts = family.experts
    if experts is None or (family.mlp and f"{path}.{family.mlp[0]}.weight" in named):
        for role in family.mlp:
            yield _layer(named, configuration, f"{path}.{role}", block=block)
        return
    for role in experts.shared:
        yield _layer(named, configuration, f"{path}.{role}", block=block)
    for expert in range(configuration.experts):
        for projection in experts.projections:
            yield _layer(named, configuration, f"{path}.{experts.path}.{expert}.{projection}", block=block, expert=expert)


def _layer(
    named: Mapping[str, StoredTensor], configuration: Configuration, name: str, *, block: int, expert: int | None = None
) -> Layer:
    shape = _matrix(_find(named, f"{name}.weight", configuration))
    out_features, in_features = shape[::-1] if configuration.family.transposed else shape
    fraction = 1.0 if expert is None else configuration.experts_per_token / configuration.experts
    return Layer(name, name.rsplit(".", 1)[1], block, expert, out_features, in_features, fraction)


def _find(named: Mapping[str, StoredTensor], name: str, configuration: Configuration) -> StoredTensor:
    if name not in named:
        msg = (
            f"the checkpoint has no tensor {name!r}, which a {configuration.architecture} of {configuration.blocks} blocks "
            f"needs: use a complete checkpoint in its original layout (one matrix per expert)"
        )
        raise CorruptCheckpointError(msg)
    return named[name]


def _matrix(tensor: StoredTensor) -> tuple[int, int]:
    if len(tensor.shape) != 2 or max(tensor.shape) > MOST:
        msg = f"{tensor.file}: tensor {tensor.name!r} has shape {tensor.shape} where a matrix is expected; export it again"
        raise CorruptCheckpointError(msg)
    if tensor.file.suffix == ".safetensors" and tensor.dtype not in FLOATS:
        msg = f"{tensor.file}: {tensor.name!r} is stored as {tensor.dtype}: it is quantized already; register the original"
        raise AlreadyQuantizedError(msg)
    return tensor.shape[0], tensor.shape[1]


def _head(named: Mapping[str, StoredTensor], configuration: Configuration) -> Layer | None:
    """The untied head as a layer; ``None`` when it is the embedding."""
    if configuration.tied:
        return None
    names = [name for name in (configuration.family.head, "lm_head") if f"{name}.weight" in named]
    if not names:
        msg = (
            f"the configuration says that the head is not tied to the embedding, but {configuration.family.head}.weight is not "
            f"in the checkpoint: set tie_word_embeddings to true if it is tied, else use a complete checkpoint"
        )
        raise CorruptCheckpointError(msg)
    out_features, in_features = _matrix(named[f"{names[0]}.weight"])
    return Layer(names[0], "lm_head", None, None, out_features, in_features)


def _embedding(named: Mapping[str, StoredTensor], configuration: Configuration) -> StoredTensor:
    family = configuration.family
    name = f"{family.embedding}.weight"
    if name not in named and configuration.tied and f"{family.head}.weight" in named:
        return named[f"{family.head}.weight"]
    return _find(named, name, configuration)


def _rows(embedding: StoredTensor) -> int:
    return _matrix(embedding)[0]


def _not_parameters(named: Mapping[str, StoredTensor], configuration: Configuration) -> set[str]:
    """Stored buffers, and the tied head where the embedding is there too."""
    family = configuration.family
    names = {name for name in named if name.endswith(family.ignored)}
    _embedding(named, configuration)
    if configuration.tied and f"{family.embedding}.weight" in named:
        heads = {f"{family.head}.weight", "lm_head.weight"} & named.keys()
        for head in heads:
            _check_tied(named[head], named[f"{family.embedding}.weight"])
        names |= heads
    return names


def _check_tied(head: StoredTensor, embedding: StoredTensor) -> None:
    """A head that the configuration calls tied but that differs would be loaded as a matrix of its own."""
    if head.shape != embedding.shape or (head.dtype == embedding.dtype and sampled(head) != sampled(embedding)):
        msg = (
            f"{head.file}: the configuration ties {head.name!r} to the embedding {embedding.name!r}, but they differ: "
            f"set tie_word_embeddings to false if the head is a matrix of its own"
        )
        raise CorruptCheckpointError(msg)


def _refuse_further_blocks(named: Mapping[str, StoredTensor], configuration: Configuration) -> None:
    prefix = f"{configuration.family.blocks}."
    for name, tensor in named.items():
        block = name.removeprefix(prefix).split(".")[0]
        if name.startswith(prefix) and block.isdecimal() and int(block) >= configuration.blocks:
            msg = (
                f"{tensor.file} holds {tensor.name!r}, but the configuration says {configuration.blocks} blocks: "
                f"take config.json and weights from the same place"
            )
            raise CorruptCheckpointError(msg)


def _kv_elements(layers: Sequence[Layer], configuration: Configuration) -> int:
    """2·kv_heads·head_dim over all blocks, from the rows of the projections; of a fused one only the K and V rows."""
    roles = configuration.family.key_value
    rows = sum(layer.out_features for layer in layers if layer.name.endswith(roles) and layer.expert is None)
    if len(roles) > 1:
        return rows
    key_value_heads = 2 * configuration.kv_heads
    return rows * key_value_heads // (configuration.heads + key_value_heads)
