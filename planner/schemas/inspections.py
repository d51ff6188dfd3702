"""What a checkpoint would be, before it is registered."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class Inspection(Schema):
    """What registering a source would store; nothing is stored."""

    id: Annotated[str, Field(description="fingerprint that the model would have")]
    name: Annotated[str, Field(description="what it would be called without a name")]
    registered: Annotated[str | None, Field(description="name under which these files are registered; null if they are not")]
    kind: Annotated[str, Field(description="'safetensors' or 'gguf'")]
    architecture: Annotated[str, Field(description="model_type of the configuration")]
    dtype: Annotated[str, Field(description="dtype in which unquantized tensors are kept")]
    blocks: Annotated[int, Field(description="transformer blocks")]
    layers: Annotated[int, Field(description="quantizable linear layers")]
    parameters: Annotated[int, Field(description="all parameters, tied tensors once")]
    layer_parameters: Annotated[int, Field(description="weights of the layers")]
    unquantized_bytes: Annotated[int, Field(description="bytes of all that is no layer")]
    bytes: Annotated[int, Field(description="bytes of all of it, with the layers in that dtype too")]
