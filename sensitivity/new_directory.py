"""Directories that checkpoints are written to. No torch here: what is in the way is said before anything is loaded."""

from pathlib import Path

from sensitivity.errors import CheckpointError


def require_new(directory: Path) -> None:
    """Check that a directory does not exist yet, or is empty.

    Raises:
        CheckpointError: it holds something, or is none.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        msg = f"{directory} already exists and is not empty; name a new directory for the checkpoint"
        raise CheckpointError(msg)
