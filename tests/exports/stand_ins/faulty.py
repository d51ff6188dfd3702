"""An engine that does what the name of the checkpoint's directory says: it answers, raises, dies, or never comes back."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.exports.engines.answer import Loaded, main

LIBRARIES = ("numpy",)


def load(directory: Path) -> Loaded:
    """As the name says; what never comes back leaves a process of its own behind, too."""
    word = directory.name.partition("-")[0]
    if word == "raises":
        msg = "no kernel for this shape"
        raise ValueError(msg)
    if word == "dies":
        os._exit(3)
    if word == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        directory.with_suffix(".pid").write_text(str(child.pid))
        time.sleep(600)
    return Loaded({"a": {"bits": 4}}, np.zeros((2, 16, 256), np.float32))


if __name__ == "__main__":
    main(load, *LIBRARIES)
