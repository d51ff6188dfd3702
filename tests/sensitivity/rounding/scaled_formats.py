"""The formats whose scales lie beside their elements: all but the block formats of GGUF, which have tests of their own."""

from sensitivity.formats.candidate import ElementType
from sensitivity.formats.registry import all_formats

SCALED = tuple(fmt for fmt in all_formats() if fmt.type is not ElementType.BLOCK)
QUANTIZED = tuple(fmt for fmt in SCALED if fmt.is_quantized)
IN_COMPRESSED_TENSORS = tuple(fmt for fmt in SCALED if fmt.type is not ElementType.NORMAL_FLOAT)
