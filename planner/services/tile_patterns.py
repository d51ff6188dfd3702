"""What rules call the layers of a tile: one name, or what the names of a block's experts have in common."""

import re
from typing import Final

_EXPERT: Final = re.compile(r"\.experts\.\d+\.")


def of_experts(name: str) -> str:
    """The pattern of a layer's fellow experts; the name of a layer that is no expert's."""
    return _EXPERT.sub(".experts.*.", name)
