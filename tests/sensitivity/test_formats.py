"""Candidate formats: exact sizes, and what cannot be stored says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensitivity.errors import UnknownFormatError, UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing import compressed_tensors_refusal, compressed_tensors_size_bits
from sensitivity.formats.registry import all_formats, get_format

FORMATS = all_formats()
shapes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@pytest.mark.parametrize(
    ("name", "effective_bits"),
    [
        ("INT4_G64", 4.25),
        ("INT4_G128", 4.125),
        ("INT4_G64_ASYM", 4.3125),
        ("INT8_CHANNEL", 8 + 16 / 512),
        ("NVFP4", 4.5 + 32 / 256 / 512),
        ("MXFP4", 4.25),
        ("NF4_G64", 4.25),
        ("FP8", 8 + 16 / 512),
        ("BF16", 16),
    ],
)
def test_effective_bits_of_a_256_by_512_matrix(name: str, effective_bits: float) -> None:
    assert get_format(name).size_bits((256, 512)) == effective_bits * 256 * 512


@given(st.sampled_from(FORMATS), shapes)
def test_padding_of_the_last_group_is_counted(fmt: CandidateFormat, shape: tuple[int, int]) -> None:
    rows, columns = shape
    if fmt.refusal(shape) is not None:
        with pytest.raises(UnsupportedShapeError, match=f"{fmt.name} stores blocks of {fmt.group_size}"):
            fmt.size_bits(shape)
        return
    size = fmt.size_bits(shape)
    assert size >= rows * columns * fmt.num_bits
    if fmt.group_size is not None:
        whole = -(-columns // fmt.group_size) * fmt.group_size
        assert size == fmt.size_bits((rows, whole))


def test_names_are_found_in_any_case_and_a_typo_gets_the_closest() -> None:
    assert get_format("int4_g64").name == "INT4_G64"
    with pytest.raises(UnknownFormatError, match="INT4_G64"):
        get_format("INT4_G65")


def test_identities_differ() -> None:
    assert len({fmt.identity for fmt in FORMATS}) == len(FORMATS) == 77


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(UnsupportedShapeError, match="empty"):
        get_format("INT4_G64").size_bits((0, 64))


def test_compressed_tensors_adds_the_shape_and_refuses_ragged_groups() -> None:
    fmt = get_format("INT4_G64")
    assert compressed_tensors_size_bits(fmt, (512, 256)) == fmt.size_bits((512, 256)) + 128
    assert "divisible by 64" in str(compressed_tensors_refusal(fmt, (512, 100)))
    assert compressed_tensors_refusal(get_format("NF4_G64"), (512, 128)) is not None
