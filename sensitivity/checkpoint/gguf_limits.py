"""What a GGUF may say that transformers does not read, and that would therefore be measured on another model.

transformers builds its configuration from a few fields of the metadata and takes its own defaults for everything else. A wrong
shape fails at load; a wrong number does not, so the fields below are compared with what transformers will assume.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from sensitivity.checkpoint.gguf_header import GgufHeader
from sensitivity.checkpoint.untrusted import shown
from sensitivity.errors import UnknownArchitectureError

_ROTARY_TENSORS: Final = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
_ASSUMED: Final[Mapping[str, Mapping[str, float]]] = {
    "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
}
_OTHER_QUERY_SCALE: Final = {"gemma2": 46, "gemma3": 62}
"""Blocks of the 27B models, whose queries are scaled by another number than 1/16; the metadata do not say so."""


def refuse_what_is_not_read(header: GgufHeader) -> None:
    """Refuse a file whose arithmetic transformers would get wrong without a word.

    Raises:
        UnknownArchitectureError: it scales its rotary embedding, caps its logits elsewhere, or scales its queries otherwise.
    """
    reason = next(_reasons(header), None)
    if reason is not None:
        msg = f"{header.weights.path} {reason}, which is not read from GGUF; register the model's safetensors checkpoint instead"
        raise UnknownArchitectureError(msg)


def _reasons(header: GgufHeader) -> Iterator[str]:
    name = str(header.metadata.get("general.architecture"))
    fields = {key.removeprefix(f"{name}."): value for key, value in header.metadata.items()}
    if any(tensor.name in _ROTARY_TENSORS for tensor in header.weights.tensors):
        yield "holds factors of its rotary embedding"
    if fields.get("rope.scaling.type", "none") != "none" or fields.get("rope.scale_linear", 1.0) != 1.0:
        yield "scales its rotary embedding"
    for key, value in _ASSUMED.get(name, {}).items():
        if fields.get(key, value) != value:
            yield f"has {key} = {shown(fields[key])} instead of {value}"
    if name in _OTHER_QUERY_SCALE and fields.get("block_count") == _OTHER_QUERY_SCALE[name]:
        yield "is a 27B model with a query scale of its own"
