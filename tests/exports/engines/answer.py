"""What a loader answers, and the main function that all loaders share."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in its engine.

    Attributes:
        layers: what the engine made of each linear, by the checkpoint's name of it, in the engine's words; an empty dict for a
            layer that it holds unquantized.
        logits: float32 (sequences, length, vocabulary) of ``fixed_tokens``.
    """

    layers: Mapping[str, Mapping[str, Any]]
    logits: NDArray[np.float32]


def fixed_tokens() -> NDArray[np.int64]:
    """Tokens (2, 16) below 256, which every model of the tests knows."""
    return (np.arange(32, dtype=np.int64).reshape(2, 16) * 37 + 11) % 256


def main(load: Callable[[Path], Loaded], *libraries: str) -> None:
    """Load the directories of the command line one after the other; one JSON line each, and the logits in their files.

    Whatever the libraries print goes to the standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    versions = {name: version(name) for name in libraries}
    for directory, logits in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        loaded = load(Path(directory))
        np.save(logits, np.asarray(loaded.logits, np.float32))
        answers.write(json.dumps({"layers": loaded.layers, "versions": versions}) + "\n")
        answers.flush()
