"""`bitplan apply`: from a plan to files in one command."""

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.reporting import AsJson, in_bytes, out, say, show_json
from planner.cli.workspace import open_database
from planner.errors import InvalidRequestError
from sensitivity.new_directory import require_new

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.gguf")


def apply(
    plan_id: Annotated[str, typer.Argument(help="Plan id.")],
    directory: Annotated[Path, typer.Argument(help="New directory for the checkpoint.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What to write; by default what the plan's runtime loads.")
    ] = None,
    fake: Annotated[
        bool,
        typer.Option(
            "--fake",
            help="Write dense weights that are what the formats decode to: any format, for any engine that loads the model; "
            "as large as the model.",
        ),
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(help="Of a fake-quantized checkpoint: bfloat16, float16 or float32; by default the model's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a plan's checkpoint: packed as its engine loads it, or fake-quantized. Needs the weights, so not with --url."""
    if fake and target is not None:
        msg = "--fake writes dense weights for no engine in particular: leave out --target"
        raise InvalidRequestError(msg)
    if dtype is not None and not fake:
        msg = "--dtype is of a fake-quantized checkpoint: give --fake too"
        raise InvalidRequestError(msg)
    require_new(directory)
    database = open_database()
    from planner.worker.checkpoints import write_fake_checkpoint, write_plan_checkpoint  # torch

    say("loading the model and rounding its weights …")
    if fake:
        written = write_fake_checkpoint(database, plan_id, directory, dtype)
    else:
        written = write_plan_checkpoint(database, plan_id, directory, target)
    size = sum(path.stat().st_size for pattern in WEIGHTS for path in written.glob(pattern))
    if as_json:
        show_json({"plan": plan_id, "checkpoint": str(written), "fake": fake, "file_bytes": size})
    else:
        out.print(f"wrote {written}: {in_bytes(size)} of weights", markup=False, highlight=False, soft_wrap=True)
