"""A worker that is stopped while it still imports says so in a line."""

import signal
import subprocess
import sys

import pytest

_IMPORTS = """
import time
from planner.worker.beginning import leave_on_signals
leave_on_signals()
print("began", flush=True)
try:
    time.sleep(60)
except BaseException:  # as an import might
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_a_line(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _IMPORTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-number, "bitplan worker: stopped before it began\n")
