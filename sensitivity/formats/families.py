"""Formats of every family by name: what a probe may be asked to measure, and what the cells of a probe are in."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from sensitivity.errors import UnknownFormatError
from sensitivity.formats.abstract import AbstractFormat, FormatFamily
from sensitivity.formats.any_format import ANY_FORMAT
from sensitivity.formats.kv_cache import kv_cache_formats
from sensitivity.formats.registry import all_formats, get_format, resolve_format

DEFAULT_FORMATS: Final[Mapping[FormatFamily, tuple[str, ...]]] = {
    FormatFamily.WEIGHTS: ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64"),
    FormatFamily.KV_CACHE: (
        *("K_FP8", "K_INT8", "K_INT4", "K_INT2", "K_INT4_CHANNEL", "K_INT2_CHANNEL"),
        *("V_FP8", "V_INT8", "V_INT4", "V_INT2"),
    ),
    FormatFamily.ANY: (ANY_FORMAT.name,),
}
"""What is measured where a request names no formats."""


def formats_of(family: FormatFamily) -> tuple[AbstractFormat, ...]:
    """Every format of a family, fewest bits of an element first."""
    if family is FormatFamily.WEIGHTS:
        return all_formats()
    if family is FormatFamily.ANY:
        return (ANY_FORMAT,)
    return kv_cache_formats()


@cache
def _apart() -> Mapping[str, AbstractFormat]:
    """Formats that are not of weights, by name."""
    return {fmt.name: fmt for family in (FormatFamily.KV_CACHE, FormatFamily.ANY) for fmt in formats_of(family)}


def get_cell_format(name: str) -> AbstractFormat:
    """The format of that name, of whatever family, in any case; formats of other tools too.

    Raises:
        UnknownFormatError: no such format; the message names the closest ones.
    """
    return _apart().get(name.upper()) or resolve_format(name)


def formats_for(family: FormatFamily, names: Iterable[str] | None, *, probe: str) -> list[AbstractFormat]:
    """The formats that a probe is asked to measure, each once, in the order of the names.

    Args:
        family: of the probe's formats.
        names: what was asked for; ``None`` for the family's defaults.
        probe: name of the probe, for messages.

    Raises:
        UnknownFormatError: no such format, or one of another family.
    """
    asked = DEFAULT_FORMATS[family] if names is None else tuple(dict.fromkeys(name.upper() for name in names))
    known: dict[str, AbstractFormat] = {fmt.name: fmt for fmt in formats_of(family)}
    for name in asked:
        if name not in known and (family is not FormatFamily.WEIGHTS or name in _apart()):
            msg = f"the probe {probe} measures {_WORDS[family]}, not {name}: leave formats out, or use {', '.join(known)}"
            raise UnknownFormatError(msg)
    return [known.get(name) or get_format(name) for name in asked]


_WORDS: Final = {
    FormatFamily.WEIGHTS: "formats of weights",
    FormatFamily.KV_CACHE: "formats of the K and V caches",
    FormatFamily.ANY: "layers whatever their format",
}
