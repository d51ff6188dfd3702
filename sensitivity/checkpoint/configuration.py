"""The sizes of a model, from ``config.json`` or from a GGUF's metadata. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sensitivity.checkpoint.families import FAMILIES, GGUF_ARCHITECTURES, Family, get_family
from sensitivity.checkpoint.gguf_header import GgufHeader
from sensitivity.checkpoint.gguf_limits import refuse_what_is_not_read
from sensitivity.checkpoint.untrusted import shown
from sensitivity.errors import AlreadyQuantizedError, CorruptCheckpointError, UnknownArchitectureError

MOST_BLOCKS: Final = 4096
"""Blocks of a model: tables of names are made for each of them. The deepest known have some hundred."""
MOST: Final = 2**31 - 1
"""Of any size, as a database stores it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration says that the tensors do not.

    Attributes:
        architecture: ``model_type``.
        family: where checkpoints of that type keep what.
        blocks: number of transformer blocks.
        heads: query heads of a block.
        kv_heads: key-value heads of a block.
        experts: routed experts of a block, 0 for dense models.
        experts_per_token: experts that a token is routed to.
        vocab_size: size of the vocabulary; ``None`` when only the embedding says it.
        context_length: longest context, if stated.
        tied: whether the head is the embedding.
    """

    architecture: str
    family: Family
    blocks: int
    heads: int
    kv_heads: int
    experts: int
    experts_per_token: int
    vocab_size: int | None
    context_length: int | None
    tied: bool


def from_json(raw: Mapping[str, object], path: Path) -> Configuration:
    """Read a ``config.json``.

    Args:
        raw: its content.
        path: the file, for messages.

    Raises:
        UnknownArchitectureError: its ``model_type`` is unknown or missing.
        AlreadyQuantizedError: its weights are quantized.
        CorruptCheckpointError: a size is missing or not a positive integer.
    """
    architecture = raw.get("model_type")
    if not isinstance(architecture, str):
        msg = f"{path} has no model_type, so its architecture is unknown: take config.json from the model's own repository"
        raise UnknownArchitectureError(msg)
    _refuse_language_model_within(raw, path)
    family = get_family(architecture)
    if raw.get("quantization_config") is not None:
        msg = f"{path} has a quantization_config: its weights are quantized already; register the original checkpoint"
        raise AlreadyQuantizedError(msg)
    sizes = _Sizes(raw, path, family.keys)
    heads = sizes.require("num_attention_heads")
    experts = sizes.require("num_experts", "num_local_experts") if family.experts else 0
    return Configuration(
        architecture=architecture,
        family=family,
        blocks=sizes.require("num_hidden_layers", limit=MOST_BLOCKS),
        heads=heads,
        kv_heads=sizes.get("num_key_value_heads") or heads,
        experts=experts,
        experts_per_token=sizes.require("num_experts_per_tok", limit=experts) if experts else 0,
        vocab_size=sizes.require("vocab_size"),
        context_length=sizes.get("max_position_embeddings"),
        tied=sizes.flag("tie_word_embeddings", default=family.tied),
    )


def _refuse_language_model_within(raw: Mapping[str, object], path: Path) -> None:
    """Say of a model for pictures or sound, which is not known, that the language model in it is.

    Raises:
        UnknownArchitectureError: it is one.
    """
    inner = raw.get("text_config")
    known = inner.get("model_type") if isinstance(inner, Mapping) else None
    if raw["model_type"] not in FAMILIES and isinstance(known, str) and known in FAMILIES:
        msg = (
            f"{path}: the architecture {shown(raw['model_type'])} is unknown, but the language model in it "
            f"is a {known}: register a checkpoint that holds it alone"
        )
        raise UnknownArchitectureError(msg)


def from_gguf(header: GgufHeader) -> Configuration:
    """Read a GGUF's metadata. The head is tied exactly when the file has no ``output.weight``.

    Raises:
        UnknownArchitectureError: its ``general.architecture`` is not one that can be loaded, or needs what cannot.
        CorruptCheckpointError: a size is missing or not a positive integer.
    """
    path, metadata = header.weights.path, header.metadata
    name = str(metadata.get("general.architecture"))
    sizes = _Sizes({key.removeprefix(f"{name}."): value for key, value in metadata.items()}, path, {})
    if name not in GGUF_ARCHITECTURES or (name == "llama" and sizes.get("expert_count")):
        what = "a mixture of llama experts" if name in GGUF_ARCHITECTURES else f"the architecture {shown(name)}"
        msg = f"{path} holds {what}, which cannot be read from GGUF; known are {', '.join(sorted(GGUF_ARCHITECTURES))}"
        raise UnknownArchitectureError(msg)
    if (sizes.get("split.count") or 1) > 1:
        msg = f"{path} is one of several parts: merge them with llama.cpp's gguf-split --merge and register the result"
        raise CorruptCheckpointError(msg)
    refuse_what_is_not_read(header)
    family = get_family(GGUF_ARCHITECTURES[name])
    heads = sizes.require("attention.head_count")
    experts = sizes.require("expert_count") if family.experts else 0
    return Configuration(
        architecture=GGUF_ARCHITECTURES[name],
        family=family,
        blocks=sizes.require("block_count", limit=min(MOST_BLOCKS, len(header.weights.tensors))),
        heads=heads,
        kv_heads=sizes.get("attention.head_count_kv") or heads,
        experts=experts,
        experts_per_token=sizes.require("expert_used_count", limit=experts) if experts else 0,
        vocab_size=sizes.get("vocab_size"),
        context_length=sizes.get("context_length"),
        tied=all(tensor.name != "output.weight" for tensor in header.weights.tensors),
    )


class _Sizes:
    """Positive integers by name, with messages that name the file and the key."""

    def __init__(self, raw: Mapping[str, object], path: Path, keys: Mapping[str, str]) -> None:
        self._raw, self._path, self._keys = raw, path, keys

    def get(self, *names: str) -> int | None:
        """The first of the names that is there, or ``None``."""
        for name in [alias for wanted in names for alias in (self._keys.get(wanted, wanted), wanted)]:
            value = self._raw.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
                msg = f"{self._path}: {name} is {shown(value)} instead of a positive integer; take the file from its origin again"
                raise CorruptCheckpointError(msg)
            return value
        return None

    def require(self, *names: str, limit: int | None = None) -> int:
        """The first of the names that is there and positive, and not above what the rest of the checkpoint allows."""
        value, wanted = self.get(*names), self._keys.get(names[0], names[0])
        if not value:
            msg = f"{self._path} does not state {wanted}; take the file from its origin again"
            raise CorruptCheckpointError(msg)
        if limit is not None and value > limit:
            msg = f"{self._path}: {wanted} is {value}, but only {limit} are possible; take the file from its origin again"
            raise CorruptCheckpointError(msg)
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean, or what is assumed when it is not stated."""
        value = self._raw.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        msg = f"{self._path}: {name} is {shown(value)} instead of true or false; take the file from its origin again"
        raise CorruptCheckpointError(msg)
