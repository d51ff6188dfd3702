"""All candidate formats, found by name. A further family is one more module here with a ``FORMATS`` tuple."""

import difflib
import importlib
import pkgutil
from functools import cache

import sensitivity.formats as package
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import foreign_format


@cache
def _by_name() -> dict[str, CandidateFormat]:
    found: dict[str, CandidateFormat] = {}
    for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        if info.name == __name__:
            continue
        for candidate in getattr(importlib.import_module(info.name), "FORMATS", ()):
            if candidate.name in found:
                msg = f"two candidate formats are called {candidate.name}; rename the one in {info.name}"
                raise ValueError(msg)
            found[candidate.name] = candidate
    return found


def all_formats() -> tuple[CandidateFormat, ...]:
    """Every candidate format, sorted by bits of an element, then by name."""
    return tuple(sorted(_by_name().values(), key=lambda fmt: (fmt.num_bits, fmt.name)))


def get_format(name: str) -> CandidateFormat:
    """The candidate format of that name, in any case.

    Raises:
        UnknownFormatError: no such format; the message names the closest ones.
    """
    formats = _by_name()
    found = formats.get(name.upper())
    if found is not None:
        return found
    close = difflib.get_close_matches(name.upper(), formats, n=4, cutoff=0.0)
    listed = f"`bitplan formats` and `GET /v1/formats` list all {len(formats)}"
    msg = f"unknown format {name!r}; close to it: {', '.join(close)}. {listed}"
    raise UnknownFormatError(msg)


def resolve_format(name: str) -> CandidateFormat:
    """As ``get_format``, and formats of other tools as well: for whoever plans with measurements but neither rounds nor packs.

    Raises:
        UnknownFormatError: no such format.
    """
    return foreign_format(name.upper(), _by_name().get) or get_format(name)
