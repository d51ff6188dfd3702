"""Stock recipes beside what the converters' own rules give, as they are documented for 28 blocks."""

from dataclasses import replace

import pytest

from planner.runtimes import RUNTIMES
from planner.runtimes.stock_recipes import STOCK_RECIPES
from sensitivity.formats.registry import get_format
from tests import synthetic

MORE_OF_28 = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27}
"""Blocks of 28 that get more bits: the first and last eighth, and every third between."""


@pytest.mark.parametrize("runtime", STOCK_RECIPES)
def test_recipes_give_more_to_values_and_down_projections_of_some_blocks(runtime: str) -> None:
    layers = synthetic.description(blocks=28, head=False).layers
    for recipe in STOCK_RECIPES[runtime]:
        given = recipe.formats(layers, 28)
        assert given is not None
        first = [layer for layer in layers if (layer.block or 0) < 20]  # where the last blocks are left as they are
        assert recipe.formats(first, 28) == given[: len(first)]
        for layer, name in zip(layers, given, strict=True):
            more = layer.kind in {"v_proj", "down_proj"} and layer.block in MORE_OF_28
            assert name == (recipe.more if more else recipe.base)


@pytest.mark.parametrize("runtime", STOCK_RECIPES)
def test_the_engine_takes_the_formats_of_its_recipes(runtime: str) -> None:
    (layer,) = [layer for layer in synthetic.description(blocks=1, hidden=256).layers if layer.kind == "down_proj"]
    for recipe in STOCK_RECIPES[runtime]:
        for name in (recipe.base, recipe.more):
            assert RUNTIMES[runtime].refusal(get_format(name), layer) is None


def test_models_that_recipes_were_not_made_for_have_none() -> None:
    recipe = STOCK_RECIPES["mlx"][0]
    layers = synthetic.description(head=False).layers
    assert recipe.formats(synthetic.description().layers, 2) is None  # with a head
    assert recipe.formats([replace(layer, expert=0) for layer in layers], 2) is None
    assert recipe.formats([layer for layer in layers if layer.kind != "down_proj"], 2) is None
