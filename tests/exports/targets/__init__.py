"""What is tested of each export target. A new one is one more module here with a ``TARGET``."""

import sys

from planner.discovery import offered
from tests.exports.target import Target


def all_targets() -> dict[str, Target]:
    """Every target by name."""
    found: list[Target] = offered(sys.modules[__name__], "TARGET")
    return {target.name: target for target in found}
