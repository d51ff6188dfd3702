"""What the layers of a plan cost together."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class CrossTermsDocument(Schema):
    """Sum over all pairs of layers of a plan, from stored score products of the probe fisher_interaction.

    Second order, as fisher's cells are, and one number for each label draw: its standard error does not shrink with the number of
    layers, as that of a sum of cells does.
    """

    loss: Annotated[float, Field(description="sum over all pairs of layers, nats per token; below 0 where errors cancel")]
    standard_error: Annotated[float | None, Field(description="of loss, over sequences; null when one sequence cannot tell")]
    total: Annotated[float, Field(description="predicted loss with cross terms, nats per token")]
    total_error: Annotated[float | None, Field(description="standard error of total; null when one sequence cannot tell")]
    setting: Annotated[str, Field(description="id of the probe setting that the score products were measured in")]
    layers: Annotated[int, Field(description="layers with score products; the others are taken as exact")]
