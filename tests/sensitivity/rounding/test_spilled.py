"""Codes on disk: the same codes come back, and the folder goes with the object."""

import gc
import tempfile
from pathlib import Path

import pytest
import torch

from sensitivity.errors import ScratchSpaceError
from sensitivity.formats.registry import get_format
from sensitivity.rounding import decode, encode
from sensitivity.rounding.spilled import SpilledCodes

WEIGHT = torch.randn((8, 64), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["INT4_G32", "INT4_G64_ASYM", "FP8", "NVFP4", "MXFP4", "BF16"])
def test_what_comes_back_decodes_to_the_same_bits(scratch: Path, name: str) -> None:
    fmt = get_format(name)
    encoded = encode(WEIGHT, fmt)
    codes = SpilledCodes()
    codes["layer", fmt] = encoded
    found = codes["layer", fmt]
    assert found.shape == encoded.shape
    assert found.codes.dtype == encoded.codes.dtype
    assert torch.equal(decode(found), decode(encoded))


def test_it_is_a_dictionary_whose_files_go(scratch: Path) -> None:
    fmt = get_format("INT4_G32")
    codes = SpilledCodes()
    codes["a", fmt] = codes["b", fmt] = encode(WEIGHT, fmt)
    codes["a", fmt] = encode(2 * WEIGHT, fmt)
    assert list(codes) == [("a", fmt), ("b", fmt)]
    assert torch.equal(decode(codes["a", fmt]), 2 * decode(codes["b", fmt]))
    del codes["a", fmt]
    codes["c", fmt] = encode(3 * WEIGHT, fmt)
    assert torch.equal(decode(codes["b", fmt]), decode(encode(WEIGHT, fmt)))
    assert ("a", fmt) not in codes
    assert len([file for file in scratch.rglob("*") if file.is_file()]) == 2
    del codes
    gc.collect()
    assert not list(scratch.iterdir())


def test_a_folder_that_cannot_be_written(scratch: Path) -> None:
    fmt = get_format("INT4_G32")
    codes = SpilledCodes()
    next(scratch.iterdir()).rmdir()
    with pytest.raises(ScratchSpaceError, match=r"codes of layer .* set TMPDIR"):
        codes["layer", fmt] = encode(WEIGHT, fmt)
    assert not codes
