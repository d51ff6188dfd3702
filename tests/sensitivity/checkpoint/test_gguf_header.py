"""Our GGUF header reader against the ``gguf`` package's, field by field and tensor by tensor."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.demo_model import smollm2_path
from sensitivity.checkpoint.configuration import Configuration
from sensitivity.checkpoint.families import GGUF_ARCHITECTURES, get_family
from sensitivity.checkpoint.gguf_header import ArrayField, read_gguf
from sensitivity.checkpoint.gguf_names import in_checkpoint_names
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.errors import CorruptCheckpointError
from tests.tiny_models import tiny_gguf


def assert_same(path: Path) -> None:
    header, reference = read_gguf(path), GGUFReader(path)
    assert [tensor.name for tensor in header.weights.tensors] == [tensor.name for tensor in reference.tensors]
    for ours, theirs in zip(header.weights.tensors, reference.tensors, strict=True):
        assert ours.dtype == theirs.tensor_type.name
        assert ours.shape == tuple(int(length) for length in reversed(theirs.shape))
        assert (ours.offset, ours.nbytes) == (int(theirs.data_offset), int(theirs.n_bytes))
    for key, value in header.metadata.items():
        field = reference.fields[key]
        if isinstance(value, ArrayField):
            assert value.length == len(field.data)
        else:
            assert value == field.contents()
    assert {key for key in reference.fields if not key.startswith("GGUF.")} == set(header.metadata)


def test_a_tiny_model(tmp_path: Path) -> None:
    assert_same(tiny_gguf(tmp_path / "m.gguf"))


@pytest.mark.real
def test_the_real_model() -> None:
    assert_same(smollm2_path())


Scalars = st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False, width=32), st.text(max_size=20))


Fields = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.one_of(Scalars, st.lists(st.text(max_size=5), min_size=1)), max_size=6
)
Shapes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), max_size=4)


@settings(max_examples=40, deadline=None)
@given(fields=Fields, shapes=Shapes, alignment=st.sampled_from([8, 32, 64]))
def test_any_header(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object], shapes: list[list[int]], alignment: int
) -> None:
    path = tmp_path_factory.mktemp("g") / "m.gguf"
    writer = GGUFWriter(str(path), "llama")
    writer.add_custom_alignment(alignment)
    for name, value in fields.items():
        add = {
            bool: writer.add_bool,
            int: writer.add_int32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }
        add[type(value)](f"x.{name}", value)
    for index, shape in enumerate(shapes):
        writer.add_tensor(f"t{index}", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_same(path)


def configuration(architecture: str, *, experts: int) -> Configuration:
    family = get_family(architecture)
    return Configuration(architecture, family, 1, 4, 2, experts, 2, 256, None, tied=False)


@pytest.mark.parametrize("architecture", GGUF_ARCHITECTURES.values())
def test_every_layer_of_every_gguf_family_has_a_gguf_name(architecture: str) -> None:
    """Each role of the family's table must be known to the package's name map (a GGUF mixture has no dense blocks)."""
    config = configuration(architecture, experts=3)
    known = ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    known += ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"]
    plain = [StoredTensor(f"blk.0.{name}.weight", "F16", (8, 4), Path("m.gguf"), 0, 64) for name in known]
    stacks = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]
    stacked = [StoredTensor(f"blk.0.{name}.weight", "F16", (3, 8, 4), Path("m.gguf"), 0, 192) for name in stacks]
    names = {tensor.name for tensor in in_checkpoint_names((*plain, *stacked), config)}
    family = config.family
    roles = [*family.attention, *(family.experts.shared if family.experts else family.mlp)]
    if family.experts:
        roles += [f"{family.experts.path}.{expert}.{p}" for expert in range(3) for p in family.experts.projections]
    assert {f"{family.blocks}.0.{role}.weight" for role in roles} <= names


def test_stacked_experts_are_cut_where_they_lie() -> None:
    stack = StoredTensor("blk.0.ffn_up_exps.weight", "F16", (3, 8, 4), Path("m.gguf"), 100, 192)
    experts = in_checkpoint_names((stack,), configuration("qwen3_moe", experts=3))
    assert [(e.name, e.shape, e.offset, e.nbytes) for e in experts] == [
        (f"model.layers.0.mlp.experts.{n}.up_proj.weight", (8, 4), 100 + 64 * n, 64) for n in range(3)
    ]
    with pytest.raises(CorruptCheckpointError, match="not a stack of 4 experts"):
        in_checkpoint_names((stack,), configuration("qwen3_moe", experts=4))
