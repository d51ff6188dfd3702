"""Codecs and rounding methods, found by name. A further family is one more module here with a ``CODECS`` or ``METHODS`` tuple."""

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

import sensitivity.rounding as package
from sensitivity.errors import FormatError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.rounding.codec import AbstractCodec

if TYPE_CHECKING:  # methods find their codecs here
    from sensitivity.rounding.method import AbstractRounding


@cache
def _found() -> tuple[tuple[AbstractCodec, ...], dict[str, "AbstractRounding"]]:
    codecs: list[AbstractCodec] = []
    methods: dict[str, AbstractRounding] = {}
    for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        module = importlib.import_module(info.name)
        codecs.extend(getattr(module, "CODECS", ()))
        methods.update({method.name: method for method in getattr(module, "METHODS", ())})
    return tuple(codecs), methods


@cache
def codec_for(fmt: CandidateFormat) -> AbstractCodec:
    """The codec of a quantized format.

    Raises:
        FormatError: no codec, or more than one, claims the format.
    """
    found = [codec for codec in _found()[0] if codec.handles(fmt)]
    if len(found) != 1:
        claims = ", ".join(type(codec).__name__ for codec in found) or "none"
        msg = f"exactly one codec must handle {fmt.name}, found: {claims}; add or narrow one in sensitivity/rounding"
        raise FormatError(msg)
    return found[0]


def get_rounding(name: str) -> "AbstractRounding":
    """The rounding method of that name, in any case.

    Raises:
        FormatError: no such method; the message lists those that exist.
    """
    methods = _found()[1]
    try:
        return methods[name.lower()]
    except KeyError:
        msg = f"unknown rounding method {name!r}: use one of {', '.join(sorted(methods))}"
        raise FormatError(msg) from None
