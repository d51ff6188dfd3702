"""Every kind of bad source: the right error, and a message that says what to do."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sensitivity.checkpoint import describe
from sensitivity.errors import (
    AlreadyQuantizedError,
    CheckpointError,
    CorruptCheckpointError,
    NoWeightsError,
    SourceNotFoundError,
    UnknownArchitectureError,
)
from tests.tiny_models import edit_config, edit_header, shards, tiny_gguf, tiny_llama, tiny_qwen3_moe, truncate

Break = Callable[[Path], object]


def rename(directory: Path, old: str, new: str | None) -> None:
    """Rename a tensor of a single-file checkpoint, or drop it."""
    tensors = load_file(shards(directory)[0])
    tensor = tensors.pop(old)
    save_file(tensors | ({new: tensor} if new else {}), shards(directory)[0])


def store(directory: Path, name: str, tensor: torch.Tensor) -> None:
    save_file(load_file(shards(directory)[0]) | {name: tensor}, shards(directory)[0])


def stretch(header: dict[str, object]) -> None:
    entry = header["model.norm.weight"]
    assert isinstance(entry, dict)
    entry["shape"] = [65]


CORRUPT: dict[str, tuple[Break, str]] = {
    "truncated": (lambda d: truncate(shards(d)[0]), r"model\.safetensors is corrupt.*truncated; download"),
    "longer": (lambda d: shards(d)[0].write_bytes(shards(d)[0].read_bytes() + b"x"), "something was appended"),
    "empty file": (lambda d: shards(d)[0].write_bytes(b""), "truncated"),
    "huge header": (lambda d: shards(d)[0].write_bytes(b"\xff" * 8 + b"{}"), "truncated"),
    "no JSON": (lambda d: shards(d)[0].write_bytes(b"\x02" + b"\0" * 7 + b"[["), "its JSON cannot be read"),
    "a list": (lambda d: shards(d)[0].write_bytes(b"\x02" + b"\0" * 7 + b"[]"), "its JSON is no object"),
    "deep JSON": (lambda d: shards(d)[0].write_bytes((60000).to_bytes(8, "little") + b"[" * 60000), "JSON cannot be read"),
    "shape": (lambda d: edit_header(shards(d)[0], stretch), "'model.norm.weight' of shape .* cannot have 128 bytes"),
    "dtype": (lambda d: edit_header(shards(d)[0], lambda h: h.update(x={"dtype": "F3", "shape": [], "data_offsets": [0, 0]})),
              "unknown dtype 'F3'"),
    "no offsets": (lambda d: edit_header(shards(d)[0], lambda h: h.update(x={"dtype": "F32", "shape": [1]})), "no valid shape"),
    "an entry that is none": (lambda d: edit_header(shards(d)[0], lambda h: h.update(x=3)), "'x' is no object"),
    "a tensor is missing": (lambda d: rename(d, "model.layers.1.mlp.up_proj.weight", None), "has no tensor .*up_proj"),
    "no embedding": (lambda d: rename(d, "model.embed_tokens.weight", None), "has no tensor 'model.embed_tokens.weight'"),
    "no head": (lambda d: rename(d, "lm_head.weight", None), "set tie_word_embeddings to true"),
    "a block too many": (lambda d: edit_config(d, num_hidden_layers=1), "says 1 blocks"),
    "a block too few": (lambda d: edit_config(d, num_hidden_layers=3), r"no tensor 'model\.layers\.2"),
    "an empty tensor": (lambda d: store(d, "extra", torch.empty(0, 4)), "'extra' of shape .* is empty"),
    "a flat matrix": (lambda d: store(d, "lm_head.weight", torch.ones(64)), "where a matrix is expected"),
    "no config": (lambda d: (d / "config.json").unlink(), "has no config.json: copy it"),
    "config is no JSON": (lambda d: (d / "config.json").write_text("{"), "config.json is corrupt"),
    "config is not UTF-8": (lambda d: (d / "config.json").write_bytes(b"\xff\xfe{"), "config.json is corrupt"),
    "config says a key twice": (lambda d: (d / "config.json").write_text('{"a": 1, "a": 2}'), "'a' appears twice"),
    "no heads": (lambda d: edit_config(d, num_attention_heads=None), "does not state num_attention_heads"),
    "tied is a word": (lambda d: edit_config(d, tie_word_embeddings="false"), "instead of true or false"),
    "a tied head that differs": (lambda d: edit_config(d, tie_word_embeddings=True), "set tie_word_embeddings to false"),
    "heads are words": (lambda d: edit_config(d, num_attention_heads="four"), "is 'four' instead of a positive integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", CORRUPT)
def test_corrupt(case: str, tmp_path: Path) -> None:
    damage, message = CORRUPT[case]
    damage(tiny_llama(tmp_path / "m"))
    with pytest.raises(CorruptCheckpointError, match=message):
        describe(str(tmp_path / "m"))


def edit_index(directory: Path, edit: Callable[[dict[str, str]], object]) -> None:
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    edit(index["weight_map"])
    path.write_text(json.dumps(index))


def repeat_tensor(directory: Path) -> None:
    first, second = shards(directory)[:2]
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: tensor}, second)


SHARDED: dict[str, tuple[Break, str]] = {
    "missing": (lambda d: shards(d)[1].unlink(), "names the shard 'model-00002-of-.*', which is not there"),
    "truncated": (lambda d: truncate(shards(d)[2]), "model-00003-of-.* is corrupt"),
    "outside": (lambda d: edit_index(d, lambda m: m.update({"x": "../m/model-00001.safetensors"})), "not the name of a .safet"),
    "twice": (repeat_tensor, "is in model-00001-of-.* too"),
    "elsewhere": (lambda d: edit_index(d, lambda m: m.update({"x": shards(d)[0].name})), "places tensor 'x' there"),
    "no map": (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "no weight_map"),
}


@pytest.mark.parametrize("case", SHARDED)
def test_shards(case: str, tmp_path: Path) -> None:
    damage, message = SHARDED[case]
    damage(tiny_llama(tmp_path / "m", sharded=True))
    with pytest.raises(CorruptCheckpointError, match=message):
        describe(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "source", ["/no/such/place", "./nothing", "a/b/c", "missing.gguf", "", " ", "nul\0byte", "~no-such-user/x", "/" + "x" * 5000]
)
def test_nothing_there(source: str) -> None:
    with pytest.raises(SourceNotFoundError, match="directory"):
        describe(source)


def test_a_hub_id_that_is_not_cached_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceNotFoundError, match="hf download nobody/nothing --revision v1"):
        describe("nobody/nothing", revision="v1")


@pytest.mark.parametrize("revision", ["../../secret", "main/../../x", "", "a\0b", "x" * 200, "/etc", "-x"])
def test_a_revision_that_is_no_name_is_never_looked_up(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it was looked up"))
    with pytest.raises(SourceNotFoundError, match="is no revision of me/tiny"):
        describe("me/tiny", revision=revision)


@pytest.mark.parametrize("source", ["../tiny", "me/../tiny", "me/.tiny", "mé/tiny", "me/" + "x" * 97, "me/tiny/more", "-me/tiny"])
def test_what_is_no_hub_id_is_never_looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it was looked up"))
    with pytest.raises(SourceNotFoundError, match="no directory or file"):
        describe(source)


def test_a_hub_id_that_is_cached_is_found_with_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--me--tiny"
    tiny_llama(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    description = describe("me/tiny")
    assert description.source == "me/tiny"
    assert description.revision == commit
    assert describe(description.path, revision=commit).fingerprint == description.fingerprint


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pytorch_model.bin", "only pickles .* convert them to safetensors"),
        ("adapter_model.safetensors", "merge an adapter"),
        ("some.gguf", "give the path of the GGUF file itself"),
        ("README.md", "point to the directory that holds the weights"),
    ],
)
def test_no_weights(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(NoWeightsError, match=message):
        describe(str(tmp_path))


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    file = shards(tiny_llama(tmp_path / "m"))[0]
    with pytest.raises(NoWeightsError, match="give the directory that it is in"):
        describe(str(file))


@pytest.mark.parametrize("model_type", ["mamba", None, 3])
def test_an_unknown_architecture_lists_the_known_ones(model_type: object, tmp_path: Path) -> None:
    edit_config(tiny_llama(tmp_path / "m"), model_type=model_type)
    with pytest.raises(UnknownArchitectureError, match=r"of one that is known: cohere, .*, starcoder2$|has no model_type"):
        describe(str(tmp_path / "m"))


@pytest.mark.parametrize("inner", ["gemma3_text", "siglip", 7])
def test_of_a_model_for_pictures_the_language_model_is_named(inner: object, tmp_path: Path) -> None:
    edit_config(tiny_llama(tmp_path / "m"), model_type="gemma3", text_config={"model_type": inner})
    known = "the language model in it is a gemma3_text: register a checkpoint that holds it alone"
    with pytest.raises(UnknownArchitectureError, match=known if inner == "gemma3_text" else "of one that is known"):
        describe(str(tmp_path / "m"))


def test_already_quantized(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "m")
    store(tmp_path / "m", "lm_head.weight", torch.ones(256, 64, dtype=torch.int8))
    with pytest.raises(AlreadyQuantizedError, match="stored as int8"):
        describe(str(tmp_path / "m"))
    edit_config(tmp_path / "m", quantization_config={"quant_method": "gptq"})
    with pytest.raises(AlreadyQuantizedError, match="register the original"):
        describe(str(tmp_path / "m"))


def test_experts_that_are_missing_or_too_few_to_choose_from(tmp_path: Path) -> None:
    tiny_qwen3_moe(tmp_path / "m")
    edit_config(tmp_path / "m", num_local_experts=5)
    with pytest.raises(CorruptCheckpointError, match="one matrix per expert"):
        describe(str(tmp_path / "m"))
    edit_config(tmp_path / "m", num_local_experts=4, num_experts_per_tok=5)
    with pytest.raises(CorruptCheckpointError, match="num_experts_per_tok is 5, but only 4 are possible"):
        describe(str(tmp_path / "m"))


def write_gguf(path: Path, architecture: str, fields: dict[str, int]) -> None:
    writer = GGUFWriter(str(path), architecture)
    for name, value in fields.items():
        writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "fields", "error", "message"),
    [
        ("mamba", {}, UnknownArchitectureError, "the architecture 'mamba'"),
        ("llama", {"llama.expert_count": 8}, UnknownArchitectureError, "mixture of llama experts"),
        ("llama", {"split.count": 2}, CorruptCheckpointError, "gguf-split --merge"),
        ("llama", {}, CorruptCheckpointError, "does not state attention.head_count"),
        (
            "llama",
            {"llama.attention.head_count": 4, "llama.block_count": 2**31 - 1},
            CorruptCheckpointError,
            "only 0 are possible",
        ),
    ],
)
def test_gguf_metadata(
    architecture: str, fields: dict[str, int], error: type[CheckpointError], message: str, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "m.gguf", architecture, fields)
    with pytest.raises(error, match=message):
        describe(str(tmp_path / "m.gguf"))


def test_a_truncated_gguf(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "m.gguf")
    content = path.read_bytes()
    for length in (4, 7, 23, 100, 5000, len(content) - 64):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptCheckpointError, match="truncated"):
            describe(str(path))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    return tiny_llama(folder / "m"), tiny_gguf(folder / "g.gguf")


Edits = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=Edits, kind=st.sampled_from(["config.json", "model.safetensors", "gguf"]))
def test_whatever_the_bytes_a_checkpoint_error_is_all_that_comes(
    sources: tuple[Path, Path], edits: list[tuple[int, int]], kind: str
) -> None:
    directory, gguf = sources
    path = gguf if kind == "gguf" else directory / kind
    original = path.read_bytes()
    content = bytearray(original)
    for at, value in edits:
        content[at % len(content)] = value
    path.write_bytes(content)
    try:
        with contextlib.suppress(CheckpointError):
            describe(str(gguf if kind == "gguf" else directory))
    finally:
        path.write_bytes(original)
