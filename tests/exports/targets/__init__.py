"""What is tested of each export target. A new one is one more module here with a ``TARGET``."""

import importlib
import pkgutil

from tests.exports.target import Target


def all_targets() -> dict[str, Target]:
    """Every target by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__, prefix=f"{__name__}."))
    found: list[Target] = [importlib.import_module(name).TARGET for name in names]
    return {target.name: target for target in found}
