"""Whatever is in a model's files, a reader gives a description or one clear, short error, soon and in little memory."""

import contextlib
import json
import os
import resource
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensitivity.checkpoint import describe
from sensitivity.checkpoint.safetensors_header import read_header
from sensitivity.errors import CheckpointError
from tests.any_json import ANYTHING, places, replaced
from tests.sensitivity.checkpoint.sparse_checkpoints import SMALL_CONFIG, small_llama

SHORT = settings(max_examples=40, deadline=None, derandomize=True, database=None)
SHARD = "model-00001-of-00001.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = small_llama(tmp_path_factory.mktemp("fuzz") / "m")
    assert len(describe(str(directory)).layers) == 7
    return directory


def header_of(shard: Path) -> tuple[dict[str, Any], bytes]:
    content = shard.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def with_header(shard: Path, header: bytes, data: bytes = b"") -> None:
    shard.write_bytes(struct.pack("<Q", len(header)) + header + data)


def attempt(source: Path) -> str:
    """The message of the refusal, which every log and every answer can carry; empty if there is nothing to refuse."""
    try:
        describe(str(source))
    except CheckpointError as error:
        message = str(error)
        assert len(message.encode()) < 3000
        return message
    return ""


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    content = path.read_bytes()
    yield
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["config.json", INDEX, SHARD])
def test_any_value_in_any_place(model: Path, file: str) -> None:
    path = model / file
    document, data = header_of(path) if file == SHARD else (json.loads(path.read_bytes()), b"")
    somewhere = list(places(document))

    @SHORT
    @given(place=st.sampled_from(somewhere), value=ANYTHING)
    def check(place: tuple[Any, ...], value: object) -> None:
        with kept(path):
            text = json.dumps(replaced(document, place, value)).encode()
            with_header(path, text, data) if file == SHARD else path.write_bytes(text)
            attempt(model)

    check()


@pytest.mark.parametrize("file", ["config.json", INDEX, SHARD])
def test_truncated_and_damaged(model: Path, file: str) -> None:
    path = model / file
    content = path.read_bytes()

    @SHORT
    @given(end=st.integers(0, len(content)), at=st.integers(0, 900), junk=st.binary(max_size=8))
    def check(end: int, at: int, junk: bytes) -> None:
        with kept(path):
            path.write_bytes(content[:end])
            assert attempt(model) or end >= len(content) - 1
            path.write_bytes(content[:at] + junk + content[at + len(junk) :])
            attempt(model)

    check()


def text(value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def gguf(fields: dict[str, bytes], tensors: list[bytes], *, counts: tuple[int, int] | None = None) -> bytes:
    """A header; fields have their type before their value."""
    tensors_count, fields_count = counts or (len(tensors), len(fields))
    body = b"".join(text(key) + value for key, value in fields.items()) + b"".join(tensors)
    return b"GGUF" + struct.pack("<IQQ", 3, tensors_count, fields_count) + body


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def words(*values: str) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(text(value) for value in values)


def tensor(name: str, *dimensions: int, kind: int = 1, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


LLAMA = {
    "general.architecture": struct.pack("<I", 8) + text("llama"),
    "llama.block_count": u32(1),
    "llama.attention.head_count": u32(2),
    "tokenizer.ggml.tokens": words("a", "b", "c"),
}
GGUF_ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


EMBEDDING = tensor("token_embd.weight", 4, 4)


def small_gguf(embedding: bytes = EMBEDDING) -> bytes:
    layers = [tensor(f"blk.0.{role}.weight", 4, 4, offset=32 * at) for at, role in enumerate(GGUF_ROLES, 1)]
    infos = [embedding, *layers]
    header = gguf(LLAMA, infos)
    return header + bytes(-len(header) % 32 + 32 * len(infos))


NUMBERS = st.sampled_from([0, 1, 2, 9, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(
    0, 2**64 - 1
)


def test_any_number_in_any_place_of_a_gguf(tmp_path: Path) -> None:
    content = small_gguf()
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert len(describe(str(path)).layers) == 7

    @SHORT
    @given(
        at=st.integers(4, len(content) - 300),
        number=NUMBERS,
        width=st.sampled_from(["<I", "<Q"]),
        end=st.integers(4, len(content)),
    )
    def check(at: int, number: int, width: str, end: int) -> None:
        piece = struct.pack(width, number % 2 ** (8 * struct.calcsize(width)))
        path.write_bytes(content[:at] + piece + content[at + len(piece) :])
        attempt(path)
        path.write_bytes(content[:end])
        assert attempt(path) or end == len(content)

    check()


def holes(path: Path, start: bytes, size: int) -> None:
    """A file that takes no space on the disk, whatever its size."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


def edited(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        header, data = header_of(model / SHARD)
        edit(header)
        with_header(model / SHARD, json.dumps(header).encode(), data)

    return apply


def configured(**keys: object) -> Callable[[Path], object]:
    return lambda model: (model / "config.json").write_text(json.dumps(SMALL_CONFIG | keys))


LISTS = b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"
LONG_SHAPE = b'{"a": {"dtype": "F32", "shape": [' + (b"9" * 4000 + b",") * 5000 + b'1], "data_offsets": [0, 4]}}'
MANY_KEYS = b"{" + b",".join(b'"%d": 1' % at for at in range(300_000)) + b', "299999": 1}'
BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header of a gigabyte": (lambda m: holes(m / SHARD, struct.pack("<Q", 2**30), 2**31), "at most 100000000 are read"),
    "a header of lists": (lambda m: with_header(m / SHARD, LISTS), "more than 2,097,152 values"),
    "a shape of many long numbers": (lambda m: with_header(m / SHARD, LONG_SHAPE), "no valid shape"),
    "many keys and one twice": (lambda m: with_header(m / SHARD, MANY_KEYS), "key '299999' appears twice"),
    "an index of a gigabyte": (lambda m: holes(m / INDEX, b"{", 2**30), "more than 67,108,864 bytes"),
    "a configuration of a gigabyte": (lambda m: holes(m / "config.json", b"{", 2**30), "more than 16,777,216 bytes"),
    "a configuration of lists": (lambda m: (m / "config.json").write_bytes(LISTS), "more than 2,097,152 values"),
    "a tokenizer of a terabyte": (lambda m: holes(m / "tokenizer.json", b"{", 2**40), "tokenizers have less"),
    "a rank of nine": (edited(lambda h: h["model.embed_tokens.weight"].update(shape=[1] * 7 + [8, 4])), "no valid shape"),
    "a name that is no text": (edited(lambda h: h.update({"\ud800": {}})), "no name of a tensor"),
    "a long name": (edited(lambda h: h.update({"x" * 10**6: {}})), "no name of a tensor"),
    "a tensor with and without the prefix": (lambda m: small_llama(m, **{"embed_tokens.weight": (8, 4)}), "one tensor twice"),
    "more rows than a database counts": (lambda m: small_llama(m, **{"model.layers.0.mlp.up_proj.weight": (2**31, 1)}),
                                         "where a matrix is expected"),
    "overlapping tensors": (edited(lambda h: h["model.embed_tokens.weight"].update(data_offsets=[32, 96])), "starts at byte"),
    "more heads than a database counts": (configured(num_attention_heads=10**20), "instead of a positive integer"),
    "a block for every grain of sand": (configured(num_hidden_layers=10**9), "only 4096 are possible"),
    "a shard that is no safetensors": (lambda m: ((m / SHARD).rename(m / "pytorch_model.bin"),
                                                  (m / INDEX).write_text('{"weight_map": {"x": "pytorch_model.bin"}}')),
                                       "not the name of a .safetensors file"),
    "UTF-16": (lambda m: (m / "config.json").write_bytes(json.dumps(SMALL_CONFIG).encode("utf-16")), "JSON cannot be read"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """A gigabyte more than the process has now is the end of what a reader may take."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_soon(case: str, tmp_path: Path) -> None:
    damage, message = BOMBS[case]
    damage(small_llama(tmp_path / "m"))
    start = time.process_time()
    assert message in attempt(tmp_path / "m")
    assert time.process_time() - start < 3


EMPTY = [tensor(f"{at}", 0) for at in range(5000)]
GGUF_BOMBS: dict[str, tuple[bytes, int, str]] = {
    "fields without end": (gguf({}, [], counts=(0, 2**40)), 2**40, "more than 4,194,304"),
    "tensors without end": (gguf(LLAMA, [], counts=(2**40, 4)), 2**40, "more than 4,194,304"),
    "words without end": (gguf({"a": struct.pack("<IIQ", 9, 8, 2**36)}, []), 2**40, "more than 4,194,304"),
    "an array without end": (gguf({"a": struct.pack("<IIQ", 9, 10, 2**37)}, []), 2**41, "more than 268,435,456 bytes"),
    "a text without end": (gguf({"a": struct.pack("<IQ", 8, 2**39)}, []), 2**40, "more than 268,435,456 bytes"),
    "a long name": (gguf({"a" * 600: u32(1)}, []), 4096, "no name of a field"),
    "an array of arrays": (gguf({"a": struct.pack("<IIQ", 9, 9, 1)}, []), 4096, "unknown type 9"),
    "a field twice": (gguf(LLAMA, [], counts=(0, 5)) + text("llama.block_count") + u32(1), 4096, "block_count' appears twice"),
    "a tensor twice": (gguf(LLAMA, [tensor("a", 4), tensor("a", 4, offset=32)]), 4096, "a tensor name appears twice"),
    "a tensor in another": (gguf(LLAMA, [tensor("a", 32), tensor("b", 32, offset=32)]), 4096, "'a' and 'b' lie in each other"),
    "a tensor past the end": (gguf(LLAMA, [tensor("a", 2**62)]), 4096, "ends past the file"),
    "an embedding that is a number": (small_gguf(tensor("token_embd.weight")), 4096, "where a matrix is expected"),
    "a block for each of many tensors": (gguf(LLAMA | {"llama.block_count": u32(5000)}, EMPTY), 2**20, "only 4096 are possible"),
}  # fmt: skip


@pytest.mark.parametrize("case", GGUF_BOMBS)
def test_a_bomb_in_a_gguf_is_refused_soon(case: str, tmp_path: Path) -> None:
    content, size, message = GGUF_BOMBS[case]
    holes(tmp_path / "m.gguf", content, size)
    start = time.process_time()
    assert message in attempt(tmp_path / "m.gguf")
    assert time.process_time() - start < 3


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "none"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["config.json", INDEX, SHARD, "model.safetensors"])
def test_what_is_no_file_is_never_opened(kind: str, name: str, tmp_path: Path) -> None:
    model = small_llama(tmp_path / "m")
    (model / name).unlink(missing_ok=True)
    NO_FILES[kind](model / name)
    assert bool(attempt(model)) == (name != "model.safetensors")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = small_llama(tmp_path / "m") / SHARD
    real = os.fstat

    def shrink(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        os.truncate(shard, 100)
        return found

    monkeypatch.setattr("sensitivity.checkpoint.safetensors_header.os.fstat", shrink)
    with pytest.raises(CheckpointError, match="JSON cannot be read"):
        read_header(shard)


def test_a_model_that_is_deleted_meanwhile_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_llama(tmp_path / "m")

    def delete(directory: Path) -> list[Path]:
        shutil.rmtree(directory)
        return []

    monkeypatch.setattr("sensitivity.checkpoint.reading.tokenizer_files", delete)
    assert "cannot be read" in attempt(model)
