"""Tensors that a checkpoint stores and its architecture has no place for."""

from collections.abc import Iterable

from sensitivity.checkpoint.description import ModelDescription
from sensitivity.checkpoint.families import get_family
from sensitivity.errors import CorruptCheckpointError


def refuse_surplus(names: Iterable[str], description: ModelDescription) -> None:
    """Check the names of tensors that were not loaded: within the blocks each would have changed the numbers.

    Masks and rotary tables are known not to matter; outside the blocks (a value head, a classifier) nothing does.

    Args:
        names: as stored.
        description: of the checkpoint.

    Raises:
        CorruptCheckpointError: one is of a block.
    """
    family = get_family(description.architecture)
    within = (f"{family.blocks}.", f"{family.blocks.removeprefix(f'{family.base}.')}.")
    of_blocks = (name for name in names if name.startswith(within) and not name.endswith(family.ignored))
    surplus = sorted(name for name in of_blocks if ".rotary_emb." not in name)
    if surplus:
        found = f"{description.source} stores tensors that a {description.architecture} of its configuration does not have"
        msg = f"{found} ({', '.join(surplus[:5])}); take config.json and weights from the same place"
        raise CorruptCheckpointError(msg)
