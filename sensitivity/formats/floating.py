"""FP8 E4M3, NVFP4, MXFP4, and the unquantized BF16 and FP16.

NVFP4 stores E2M1 elements with an E4M3 scale per 16 and a float32 scale per tensor (4.5 bits a weight); MXFP4 stores E2M1
elements with a power-of-two E8M0 scale per 32 (OCP MX specification 1.0; 4.25 bits a weight).
"""

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy


def _unquantized(name: str) -> CandidateFormat:
    return CandidateFormat(name, 16, ElementType.FLOAT, Strategy.UNQUANTIZED, scale_dtype=None, scale_bits=0)


FORMATS = (
    CandidateFormat("FP8", 8, ElementType.FLOAT, Strategy.CHANNEL),
    CandidateFormat("FP8_TENSOR", 8, ElementType.FLOAT, Strategy.TENSOR),
    CandidateFormat(
        "NVFP4",
        4,
        ElementType.FLOAT,
        Strategy.TENSOR_GROUP,
        group_size=16,
        scale_dtype="float8_e4m3fn",
        scale_bits=8,
        tensor_bits=32,
    ),
    CandidateFormat("MXFP4", 4, ElementType.FLOAT, Strategy.GROUP, group_size=32, scale_dtype="float8_e8m0fnu", scale_bits=8),
    _unquantized("BF16"),
    _unquantized("FP16"),
)
