"""Block formats of GGUF: their bytes are ggml's, and rows that are no whole blocks are refused."""

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import ElementType
from sensitivity.formats.gguf import FORMATS, BlockFormat
from sensitivity.formats.packing import compressed_tensors_refusal
from sensitivity.formats.registry import get_format

by_format = pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)


@by_format
def test_blocks_are_those_of_the_library(fmt: BlockFormat) -> None:
    assert GGML_QUANT_SIZES[GGMLQuantizationType[fmt.name]] == (fmt.block_elements, fmt.block_bytes)
    assert str(fmt.num_bits) in fmt.name
    assert fmt.num_bits < fmt.block_bytes * 8 / fmt.block_elements <= fmt.num_bits + 1
    assert fmt.type is ElementType.BLOCK


def test_q2_k_has_2_625_bits_and_not_those_of_iq2_s() -> None:
    assert get_format("Q2_K").size_bits((4, 512)) == 2.625 * 4 * 512


def test_mxfp4_is_stored_in_the_bits_that_it_has_everywhere() -> None:
    elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType.MXFP4]
    assert get_format("MXFP4").size_bits((3, elements)) == 3 * block_bytes * 8


@given(st.sampled_from(FORMATS), st.integers(1, 3000), st.integers(1, 3000))
def test_sizes_are_whole_blocks_or_there_is_none(fmt: BlockFormat, rows: int, columns: int) -> None:
    elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[fmt.name]]
    if columns % elements:
        with pytest.raises(UnsupportedShapeError, match=f"blocks of {elements} inputs, which do not divide {columns}"):
            fmt.size_bits((rows, columns))
    else:
        assert fmt.size_bits((rows, columns)) == rows * columns // elements * block_bytes * 8


@pytest.mark.parametrize("columns", [576, 896])
def test_columns_not_divisible_by_256_are_refused_where_llama_quantize_demotes(columns: int) -> None:
    """576 are those of SmolLM2-135M, 896 those of Qwen2-0.5B."""
    for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "TQ1_0", "TQ2_0"):
        assert f"do not divide {columns}" in str(get_format(name).refusal((64, columns)))
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"):
        assert get_format(name).refusal((64, columns)) is None


@by_format
def test_compressed_tensors_has_none_of_them(fmt: BlockFormat) -> None:
    assert compressed_tensors_refusal(fmt, (4, 512)) == f"compressed-tensors has no {fmt.name}"


def test_names_are_found_as_ggml_writes_them() -> None:
    assert get_format("q4_k") is get_format("Q4_K")
