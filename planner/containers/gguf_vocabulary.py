"""The tokenizer of a model as metadata of a GGUF.

That of a GGUF is copied field by field. That of a directory must be a byte-level BPE with a ``tokenizer.json``. How its text is
split before merging has a name in llama.cpp (``tokenizer.ggml.pre``), which is found by the split itself; where it is unknown
nothing is written, and llama.cpp says at load that it uses its default.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader, GGUFValueType, GGUFWriter, SpecialVocab, TokenType

from planner.containers.gguf_metadata import metadata_bytes
from sensitivity.checkpoint.fingerprint import tokenizer_files
from sensitivity.checkpoint.gguf_header import ArrayField, read_gguf
from sensitivity.checkpoint.untrusted import INDEX_LIMIT, read_json
from sensitivity.errors import CheckpointError

Json = Mapping[str, Any]

MOST_TOKENS: Final = 2**22
"""Of a vocabulary: each takes some hundred bytes of memory while it is counted. The largest known have some 300,000."""
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


def refuse_other_vocabulary(path: Path, rows: int) -> None:
    """Check that a GGUF has a token for each row of its embedding.

    Raises:
        CheckpointError: it has more or fewer, or no tokenizer.
    """
    tokens = read_gguf(path).metadata.get("tokenizer.ggml.tokens")
    found = tokens.length if isinstance(tokens, ArrayField) else 0
    if found != rows:
        msg = (
            f"{path} has {found:,} tokens, but its embedding has {rows:,} rows, and llama.cpp wants a token for each; take "
            f"another file of the model, or its safetensors"
        )
        raise CheckpointError(msg)


def tokenizer_bytes(directory: Path, vocab_size: int) -> int | None:
    """Bytes of the fields that ``add_vocabulary`` writes; ``None`` where it refuses the tokenizer, or it cannot be read."""
    writer = GGUFWriter(None, "")
    before = metadata_bytes(writer)
    try:
        add_vocabulary(writer, directory, vocab_size)
    except (CheckpointError, OSError):
        return None
    return metadata_bytes(writer) - before


def add_vocabulary(writer: GGUFWriter, directory: Path, vocab_size: int) -> None:
    """Write the tokenizer of a directory.

    Args:
        writer: of the new file.
        directory: with ``tokenizer.json`` and what lies beside it.
        vocab_size: rows of the embedding: tokens that the tokenizer does not have are written as unused.

    Raises:
        CheckpointError: there is no tokenizer, it is no byte-level BPE, it has more tokens than the embedding, or its files are
            not what they should be.
        OSError: a file cannot be read.
    """
    try:
        _add_vocabulary(writer, directory, vocab_size)
        metadata_bytes(writer)  # a text that is no Unicode is found before anything is written
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _unreadable(directory, f"{type(error).__name__}: {error}") from error


def _add_vocabulary(writer: GGUFWriter, directory: Path, vocab_size: int) -> None:
    path = directory / "tokenizer.json"
    if not path.is_file():
        msg = f"{directory} holds no tokenizer.json, without which no GGUF is written; put the model's beside its weights"
        raise CheckpointError(msg)
    tokenizer = _read(path)
    if not _is_byte_level(tokenizer):
        msg = f"{path} is no byte-level BPE, the only kind that is written to GGUF; use llama.cpp's converter for this model"
        raise CheckpointError(msg)
    if vocab_size > MOST_TOKENS:
        raise _unreadable(path, f"the embedding has {vocab_size:,} rows, and vocabularies have less than {MOST_TOKENS:,} tokens")
    tokens, types = _tokens(tokenizer, vocab_size, path)
    writer.add_tokenizer_model("gpt2")
    if (split := split_name(tokenizer.get("pre_tokenizer") or {})) is not None:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = _special(directory, vocab_size, with_merges=bool(tokenizer["model"].get("merges")))
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


def _special(directory: Path, vocab_size: int, *, with_merges: bool) -> SpecialVocab:
    """Merges, special tokens and chat templates, as the ``gguf`` package reads them from a directory."""
    for path in (*tokenizer_files(directory), *directory.glob("chat_template*"), *directory.glob("*chat_templates/*")):
        if path.stat().st_size > INDEX_LIMIT:
            raise _unreadable(path, f"it has more than {INDEX_LIMIT:,} bytes")
    return SpecialVocab(directory, load_merges=with_merges, n_vocab=vocab_size)


def _read(path: Path) -> Json:
    found: Json = read_json(path, limit=INDEX_LIMIT)
    return found


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"the tokenizer at {path} cannot be read ({why}); take another copy of it")


def _is_byte_level(tokenizer: Json) -> bool:
    model, decoder = tokenizer.get("model") or {}, tokenizer.get("decoder") or {}
    return model.get("type") == "BPE" and not model.get("byte_fallback") and decoder.get("type") == "ByteLevel"


def _is_token(added: Json) -> bool:
    return isinstance(added.get("id"), int) and isinstance(added.get("content"), str)


def _tokens(tokenizer: Json, vocab_size: int, path: Path) -> tuple[list[str], list[int]]:
    """Tokens by id, and their types."""
    vocabulary, added = tokenizer["model"].get("vocab"), tokenizer.get("added_tokens") or ()
    if not isinstance(vocabulary, Mapping) or not all(isinstance(index, int) for index in vocabulary.values()):
        raise _unreadable(path, "its vocabulary is no table of tokens and their numbers")
    if not all(isinstance(one, Mapping) and _is_token(one) for one in added):
        raise _unreadable(path, "its added tokens have no content or no number")
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    types = [int(TokenType.UNUSED)] * vocab_size
    found = [(token, index, TokenType.NORMAL) for token, index in vocabulary.items()]
    for one in added:
        found.append((one["content"], one["id"], TokenType.CONTROL if one.get("special") else TokenType.USER_DEFINED))
    for token, index, kind in found:
        if not 0 <= index < vocab_size:
            msg = f"{path} has the token {index}, but the embedding has {vocab_size} rows; take both from the same checkpoint"
            raise CheckpointError(msg)
        tokens[index], types[index] = token, int(kind)
    return tokens, types
