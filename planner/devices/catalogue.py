"""The devices that come with bitplan, from ``devices.toml``."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from planner.schemas.devices import DeviceFacts

FILE: Final = "devices.toml"


@cache
def built_in_devices() -> Mapping[str, DeviceFacts]:
    """Devices by name, in the order of the file.

    Raises:
        ValidationError: the file has a device that cannot be one.
    """
    text = files("planner.devices").joinpath(FILE).read_text(encoding="utf-8")
    found = [DeviceFacts.model_validate(item) for item in tomllib.loads(text)["devices"]]
    return {facts.name: facts for facts in found}
