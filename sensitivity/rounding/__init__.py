"""Rounding: how weights reach the grid of a candidate format, and what the format's own library would decode."""

from sensitivity.rounding.codec import AbstractCodec, Encoded, Scaling
from sensitivity.rounding.method import AbstractRounding
from sensitivity.rounding.nearest import decode
from sensitivity.rounding.registry import codec_for, get_rounding
from sensitivity.rounding.rtn import encode, fake_quantize, fake_quantize_many

__all__ = [
    "AbstractCodec",
    "AbstractRounding",
    "Encoded",
    "Scaling",
    "codec_for",
    "decode",
    "encode",
    "fake_quantize",
    "fake_quantize_many",
    "get_rounding",
]
