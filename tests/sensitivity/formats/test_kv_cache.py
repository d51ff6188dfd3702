"""Formats of the caches: exact sizes, names of their own, and the layers that they are about."""

import pytest

from sensitivity.checkpoint.families import FAMILIES
from sensitivity.errors import UnknownFormatError, UnsupportedShapeError
from sensitivity.formats.abstract import FormatFamily
from sensitivity.formats.any_format import ANY_FORMAT
from sensitivity.formats.families import DEFAULT_FORMATS, formats_for, formats_of, get_cell_format
from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, CachedTensor, KVCacheFormat
from sensitivity.formats.registry import all_formats, get_format

BITS = {
    "BF16": 16.0,
    "FP16": 16.0,
    "FP8": 8.0,
    "NVFP4": 4.5,
    "INT8": 8.25,
    "INT4": 4.25,
    "INT2": 2.25,
    "INT8_G32": 9.0,
    "INT4_G32": 5.0,
    "INT2_G32": 3.0,
    "Q8_0": 8.5,
    "Q4_0": 4.5,
    "INT8_CHANNEL": 9.0,
    "INT4_CHANNEL": 5.0,
    "INT2_CHANNEL": 3.0,
}
"""Stored bits of an element of heads of 128."""


def cache_format(name: str) -> KVCacheFormat:
    found = get_cell_format(name)
    assert isinstance(found, KVCacheFormat)
    return found


def test_every_format_is_here_with_the_bits_that_it_takes() -> None:
    found = {fmt.name: fmt.effective_bits(128) for fmt in KV_CACHE_FORMATS}
    values = {f"V_{name}": bits for name, bits in BITS.items() if not name.endswith("CHANNEL")}
    assert found == {f"K_{name}": bits for name, bits in BITS.items()} | values


@pytest.mark.parametrize(
    ("name", "tokens", "bits"),
    [
        ("V_INT4", 7, 7 * 2 * (80 * 4 + 32)),
        ("V_INT4_G32", 7, 7 * 2 * 3 * (32 * 4 + 32)),  # two groups of 32 and one of 16, padded
        ("K_INT4_CHANNEL", 33, 2 * 80 * 2 * (32 * 4 + 32)),  # a second group for one token
        ("K_NVFP4", 1, 2 * 5 * (16 * 4 + 8) + 32),
        ("K_FP8", 3, 3 * 2 * 80 * 8 + 32),
        ("V_BF16", 3, 3 * 2 * 80 * 16),
    ],
)
def test_sizes_count_scales_minima_and_padding(name: str, tokens: int, bits: int) -> None:
    assert cache_format(name).size_bits(tokens=tokens, heads=2, head_dim=80) == bits


def test_an_empty_cache_has_no_size() -> None:
    with pytest.raises(UnsupportedShapeError, match="at least 1"):
        cache_format("K_FP8").size_bits(tokens=0, heads=2, head_dim=64)
    assert cache_format("K_FP8").refusal((0, 64)) is not None
    assert cache_format("K_FP8").refusal((64, 64)) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_cache_of_every_architecture_has_its_layer(family: str) -> None:
    """Keys and values have a layer each, or share a fused one; no other layer has a cache."""
    layout = FAMILIES[family]
    roles = [*layout.attention, *layout.mlp]
    for tensor, cached in ((CachedTensor.KEYS, layout.key_value[0]), (CachedTensor.VALUES, layout.key_value[-1])):
        fmt = cache_format(f"{tensor}_FP8")
        assert [role for role in roles if fmt.concerns(role.rsplit(".", 1)[-1])] == [cached]


def test_names_and_contents_of_all_families_differ() -> None:
    listed = [fmt for family in FormatFamily for fmt in formats_of(family)]
    assert len({fmt.name for fmt in listed}) == len(listed)
    assert len({fmt.identity for fmt in listed}) == len(listed)
    assert not {fmt.name for fmt in all_formats()} & {fmt.name for fmt in KV_CACHE_FORMATS}
    assert all(get_cell_format(fmt.name.lower()) is fmt for fmt in listed)


def test_a_probe_is_given_formats_of_its_own_family() -> None:
    for family, names in DEFAULT_FORMATS.items():
        assert [fmt.name for fmt in formats_for(family, None, probe="p")] == list(names)
    assert formats_for(FormatFamily.WEIGHTS, ["int4_g64", "INT4_G64"], probe="fisher") == [get_format("INT4_G64")]
    assert formats_for(FormatFamily.ANY, ["any"], probe="kurtosis") == [ANY_FORMAT]
    for family, name, message in (
        (FormatFamily.WEIGHTS, "K_INT4", "the probe p measures formats of weights, not K_INT4"),
        (FormatFamily.WEIGHTS, "ANY", "measures formats of weights"),
        (FormatFamily.WEIGHTS, "INT4_G63", "close to it: INT4_G64"),
        (FormatFamily.WEIGHTS, "INT9", r"close to it: INT"),
        (FormatFamily.KV_CACHE, "INT4_G64", "formats of the K and V caches, not INT4_G64: leave formats out, or use K_INT2"),
        (FormatFamily.ANY, "INT4_G64", "layers whatever their format, not INT4_G64: leave formats out, or use ANY"),
    ):
        with pytest.raises(UnknownFormatError, match=message):
            formats_for(family, [name], probe="p")
