"""An interrupt ends a command in a word, whether it imports, works, or has not begun."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from planner.cli import commands_models
from planner.cli.app import app
from planner.cli.entry import INTERRUPTED

_IMPORTS = """
import signal, sys, types
import planner.cli
from planner.cli import entry

class Slow(types.ModuleType):
    def __getattr__(self, name):
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:  # as an import might
            pass
        raise AttributeError(name)

sys.modules["planner.cli.app"] = Slow("planner.cli.app")
entry.main()
"""
_WORKS = """
import signal, sys, types
from planner.cli import entry

app = types.ModuleType("planner.cli.app")
app.main = lambda: signal.raise_signal(signal.SIGINT)
sys.modules["planner.cli.app"] = app
entry.main()
print("went on")
"""


def run(code: str, *, ignoring: bool = False) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignoring else signal.SIG_DFL),
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def heard() -> Iterator[None]:
    """Interrupts are heard, also where the tests were started in the background of a shell, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("code", [_IMPORTS, _WORKS])
def test_an_interrupt_is_a_word_and_a_status(code: str) -> None:
    assert run(code) == (INTERRUPTED, "", "interrupted\n")


def test_a_command_that_was_started_to_hear_no_interrupt_hears_none() -> None:
    assert run(_WORKS, ignoring=True) == (0, "went on\n", "")


@pytest.mark.usefixtures("heard")
def test_a_command_that_is_interrupted_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands_models, "operations", lambda: signal.raise_signal(signal.SIGINT))
    ended = CliRunner().invoke(app, ["formats"])
    assert (ended.exit_code, ended.output) == (INTERRUPTED, "")
    assert capfd.readouterr().err == "interrupted\n"


def test_nothing_heavy_comes_before_it() -> None:
    code = "import sys, planner.cli.entry; print(*(name for name in sys.modules if name.partition('.')[0] in sys.argv[1:]))"
    ours = subprocess.run(
        [sys.executable, "-c", code, "planner", "typer", "numpy"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert set(ours.stdout.split()) == {"planner", "planner.cli", "planner.cli.entry"}
