"""Documents of tiles: what pictures of blocks and layers are drawn from, so that none derives rows, names or patterns itself."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class TileName(Schema):
    """A layer, the routed experts of one projection in one block, or the keys or values of a block: what and where it is."""

    row: Annotated[
        str, Field(description="its row in a picture: the kind where that is enough, else part of the path ('attn.c_proj')")
    ]
    row_index: Annotated[int, Field(description="place of the row among all rows of the model, from 0")]
    name: Annotated[str, Field(description="what it is called: 'q_proj of block 3', 'down_proj of block 3, 128 experts'")]
    block: Annotated[int | None, Field(description="transformer block; null outside of the blocks")]
    kind: Annotated[str, Field(description="q_proj, down_proj, …; k_cache or v_cache")]
    pattern: Annotated[
        str,
        Field(description="what pins, floors and menus of a request call its layers, and no others: a name, or a pattern"),
    ]
    layers: Annotated[int, Field(description="how many layers: more than one are experts")]


class Tile(TileName):
    """What a plan gives the layers of a tile."""

    bits: Annotated[float, Field(description="stored bits ÷ weights of all of them; of a cache: bits of an element")]
    formats: Annotated[dict[str, int], Field(description="format → how many of them have it, the most frequent first")]


class PlanTile(Tile):
    """A tile of a stored plan that may be compared with another one."""

    changed: Annotated[int, Field(description="layers whose format is another one in the plan that it is compared with")]
