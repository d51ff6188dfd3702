"""The tokenizer of a model as metadata of a GGUF.

That of a GGUF is copied field by field. That of a directory must be a byte-level BPE with a ``tokenizer.json``. How its text is
split before merging has a name in llama.cpp (``tokenizer.ggml.pre``), which is found by the split itself; where it is unknown
nothing is written, and llama.cpp says at load that it uses its default.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader, GGUFValueType, GGUFWriter, SpecialVocab, TokenType

from sensitivity.errors import CheckpointError

Json = Mapping[str, Any]

_WORDS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_ENDS: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS: Final[Mapping[str, str]] = {
    _WORDS + r"\p{N}{1,3}" + _ENDS: "llama-bpe",
    _WORDS + r"\p{N}" + _ENDS: "qwen2",
}
"""Regular expressions that text is split by, with llama.cpp's names."""


def copy_vocabulary(writer: GGUFWriter, path: Path) -> None:
    """Write the tokenizer of another GGUF, unchanged."""
    for name, field in GGUFReader(path).fields.items():
        kind, content = field.types[0], field.contents()
        if name.startswith("tokenizer.") and content != []:  # an array of nothing has no type
            writer.add_key_value(name, content, kind, sub_type=field.types[-1] if kind is GGUFValueType.ARRAY else None)


def add_vocabulary(writer: GGUFWriter, directory: Path, vocab_size: int) -> None:
    """Write the tokenizer of a directory.

    Args:
        writer: of the new file.
        directory: with ``tokenizer.json`` and what lies beside it.
        vocab_size: rows of the embedding: tokens that the tokenizer does not have are written as unused.

    Raises:
        CheckpointError: there is no tokenizer, it is no byte-level BPE, or it has more tokens than the embedding.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        msg = f"{directory} holds no tokenizer.json, without which no GGUF is written; put the model's beside its weights"
        raise CheckpointError(msg)
    tokenizer = _read(path)
    if not _is_byte_level(tokenizer):
        msg = f"{path} is no byte-level BPE, the only kind that is written to GGUF; use llama.cpp's converter for this model"
        raise CheckpointError(msg)
    tokens, types = _tokens(tokenizer, vocab_size, path)
    writer.add_tokenizer_model("gpt2")
    if (split := split_name(tokenizer.get("pre_tokenizer") or {})) is not None:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = SpecialVocab(directory, load_merges=bool(tokenizer["model"].get("merges")), n_vocab=vocab_size)
    if not special.merges:
        writer.add_token_scores([0.0] * vocab_size)  # readers derive merges from scores where there are none, and find none
    special.add_to_gguf(writer, quiet=True)


def split_name(pre_tokenizer: Json) -> str | None:
    """llama.cpp's name of a ``pre_tokenizer`` of ``tokenizer.json``, or ``None`` if it is not known."""
    steps: Sequence[Json] = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Split", "ByteLevel"]:
        return SPLITS.get(str(steps[0].get("pattern", {}).get("Regex")))
    if not steps[-1].get("use_regex", True):
        return None
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    return "gpt-2" if kinds == ["ByteLevel"] else None


def _read(path: Path) -> Json:
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} is no JSON ({error}); take another copy of the tokenizer"
        raise CheckpointError(msg) from error
    return found


def _is_byte_level(tokenizer: Json) -> bool:
    model, decoder = tokenizer.get("model") or {}, tokenizer.get("decoder") or {}
    return model.get("type") == "BPE" and not model.get("byte_fallback") and decoder.get("type") == "ByteLevel"


def _tokens(tokenizer: Json, vocab_size: int, path: Path) -> tuple[list[str], list[int]]:
    """Tokens by id, and their types."""
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    types = [int(TokenType.UNUSED)] * vocab_size
    found = [(token, index, TokenType.NORMAL) for token, index in tokenizer["model"]["vocab"].items()]
    for added in tokenizer.get("added_tokens") or ():
        found.append((added["content"], added["id"], TokenType.CONTROL if added.get("special") else TokenType.USER_DEFINED))
    for token, index, kind in found:
        if index >= vocab_size:
            msg = f"{path} has the token {index}, but the embedding has {vocab_size} rows; take both from the same checkpoint"
            raise CheckpointError(msg)
        tokens[index], types[index] = token, int(kind)
    return tokens, types
