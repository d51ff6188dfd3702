"""Recipes of mixed formats that engines' own converters offer by name: what a plan is compared with beside uniform formats.

They look at the kind and the place of a layer alone. Both sources give more bits to the values and the down projections of
the first eighth of the blocks, of the last eighth, and of every third one between:

- llama.cpp, ``llama-quant.cpp`` (``Q4_K_M``, ``Q5_K_M``, of Llama-like dense models);
- mlx-lm, ``convert.py`` (``--quant-predicate mixed_3_6`` and others, groups of 64).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer

_MORE: Final = frozenset({"v_proj", "down_proj"})


@dataclass(frozen=True, slots=True)
class StockRecipe:
    """One recipe.

    Attributes:
        name: as the converter calls it.
        base: format of most layers.
        more: format of the values and down projections of the chosen blocks.
    """

    name: str
    base: str
    more: str

    def formats(self, layers: Sequence[Layer], blocks: int) -> list[str] | None:
        """The format of each layer by name; ``None`` for a model that the recipe was not made for.

        Args:
            layers: planned layers of a model, in blocks that are counted from 0.
            blocks: of the model, those without a planned layer too.
        """
        if any(layer.expert is not None or layer.block is None for layer in layers):
            return None
        if not {layer.kind for layer in layers} >= _MORE:
            return None
        return [self.more if layer.kind in _MORE and _takes_more(layer.block, blocks) else self.base for layer in layers]


def _takes_more(block: int | None, blocks: int) -> bool:
    """Whether a block is one of those that get more bits."""
    if block is None:
        return False
    eighth = blocks // 8
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2


STOCK_RECIPES: Final[Mapping[str, tuple[StockRecipe, ...]]] = {
    "llama.cpp": (StockRecipe("Q4_K_M", "Q4_K", "Q6_K"), StockRecipe("Q5_K_M", "Q5_K", "Q6_K")),
    "mlx": (
        StockRecipe("mixed_2_6", "INT2_G64", "INT6_G64"),
        StockRecipe("mixed_3_4", "INT3_G64", "INT4_G64"),
        StockRecipe("mixed_3_6", "INT3_G64", "INT6_G64"),
        StockRecipe("mixed_4_6", "INT4_G64", "INT6_G64"),
    ),
}
"""Recipes of each runtime."""
