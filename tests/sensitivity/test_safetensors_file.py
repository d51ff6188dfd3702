"""Files of safetensors of a size that was promised: read by the library as they were written, and bounded before."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensitivity.checkpoint.safetensors_header import read_header
from sensitivity.checkpoint.safetensors_layout import (
    INDEX_LINE_BYTES,
    empty_header_bytes,
    empty_index_bytes,
    entry_bytes,
    index_text,
    most_shards,
    quoted_bytes,
)
from sensitivity.errors import CheckpointError
from sensitivity.safetensors_file import tensor_bytes, write_file

WORDS = {torch.uint8: "U8", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.int64: "I64", torch.uint32: "U32"}
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@st.composite
def some_tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    shapes = draw(st.dictionaries(NAMES, st.tuples(SHAPES, st.sampled_from(list(WORDS))), max_size=8))
    chooser = torch.Generator().manual_seed(0)
    return {name: torch.randint(0, 100, shape, generator=chooser).to(dtype) for name, (shape, dtype) in shapes.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors=some_tensors(), more=st.integers(0, 300))
def test_the_library_reads_what_is_written_in_the_size_that_was_asked_for(
    tmp_path: Path, tensors: dict[str, Tensor], more: int
) -> None:
    path, metadata = tmp_path / "model.safetensors", {"format": "pt", "said": '{"a": "ü"}'}
    least = write_file(path, tensors, metadata)
    assert least == path.stat().st_size
    save_file(tensors, tmp_path / "library.safetensors", metadata)
    assert least <= (tmp_path / "library.safetensors").stat().st_size
    size = write_file(path, tensors, metadata, size=least + more)
    assert size == path.stat().st_size == least + more // 8 * 8
    found = load_file(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)) if tensor.dim() else True
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == metadata
    if all(name.isprintable() and name != "__metadata__" for name in tensors):
        assert {tensor.name: tensor.offset % (tensors[tensor.name].element_size()) for tensor in read_header(path).tensors} == (
            dict.fromkeys(tensors, 0)
        )
    with pytest.raises(CheckpointError, match="the plan promises"):
        write_file(path, tensors, metadata, size=least - 8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensors=some_tensors())
def test_what_is_counted_before_is_no_less_than_what_is_written(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    data = sum(map(tensor_bytes, tensors.values()))
    written = write_file(tmp_path / "model.safetensors", tensors, {"format": "pt"}) - data
    entries = [entry_bytes(WORDS[tensor.dtype], tensor.shape, digits=len(str(data))) for tensor in tensors.values()]
    counted = empty_header_bytes({"format": "pt"}) + sum(entries) + sum(map(quoted_bytes, tensors))
    digits = 2 * len(str(data)) * len(tensors)
    assert written <= counted <= written + digits + 16
    places = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    index = len(index_text(places, data)) + 1
    assert json.loads(index_text(places, data))["weight_map"] == places
    assert index <= empty_index_bytes(data) + sum(quoted_bytes(name) + INDEX_LINE_BYTES for name in tensors) <= index + 16


@given(sizes=st.lists(st.integers(1, 30), max_size=40), limit=st.integers(1, 40))
def test_no_more_files_than_were_counted(sizes: list[int], limit: int) -> None:
    files, size = 1, 0
    for one in sizes:
        if size and size + one > limit:
            files, size = files + 1, 0
        size += one
    assert files <= most_shards(sum(sizes), limit)
