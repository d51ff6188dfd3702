"""Requests and documents of imports."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Line, Schema

TEXT_LIMIT = 32 * 2**20
"""Characters of the files that a request may carry together; larger ones are imported with the command line."""


class ImportedFile(Schema):
    """A file that another tool wrote."""

    name: Annotated[Line, Field(min_length=1, max_length=200, description="what it is called, for messages")]
    text: Annotated[str, Field(max_length=TEXT_LIMIT, description="its content")]


class ImportRequest(Schema):
    """Import what another tool measured or decided."""

    files: Annotated[
        list[ImportedFile],
        Field(min_length=1, max_length=100, description="one file; of auto-round all schemes of a run, a file each"),
    ]
    tool: Annotated[
        Line | None,
        Field(
            min_length=1,
            max_length=40,
            description="exllamav2, autoround, mlx_lm, evopress or table (CSV); by default what they look like",
        ),
    ] = None
    options: Annotated[
        dict[Annotated[str, Field(max_length=40)], int | Annotated[str, Field(max_length=200)]],
        Field(
            max_length=10,
            description="what the files do not say: low_bits, low_group_size, high_bits, high_group_size of mlx_lm; "
            "level_format of evopress (INT{level}_G64)",
        ),
    ] = {}


class ImportDocument(Schema):
    """What became of an import."""

    model: Annotated[str, Field(description="id of the model")]
    tool: Annotated[str, Field(description="whose files they are")]
    sha256: Annotated[str, Field(description="hash of the file, or over the hashes of the files")]
    setting: Annotated[str | None, Field(description="id of the probe setting of imported cells; null for a plan")] = None
    probe: Annotated[str | None, Field(description="probe of imported cells, to plan with; null for a plan")] = None
    plan: Annotated[str | None, Field(description="id of an imported plan; null for cells")] = None
    layers: Annotated[int, Field(description="layers that the files say something of")]
    missing: Annotated[int, Field(description="layers of the model's blocks that they say nothing of")]
    formats: Annotated[list[str], Field(description="formats that they say something of")]
    cells: Annotated[int, Field(description="cells stored")]
    skipped: Annotated[list[str], Field(description="names of the files that are no layers here: embedding, routers")]
    notes: Annotated[list[str], Field(description="what was assumed")]
