"""Threads that wait sleep where jobs are computed, unless the operator says otherwise; said before torch is loaded."""

import os
import subprocess
import sys

import pytest

from planner.worker.idle_threads import WAITING, let_waiting_threads_sleep

_BEGINS = """
import os, sys
import planner.worker.idle_threads as idle

class Told(Exception):
    pass

def tell():
    raise Told(*sorted({"torch", "planner.worker.process"} & set(sys.modules)))

idle.let_waiting_threads_sleep = tell
try:
    %s
except Told as told:
    print("told", *told.args)
"""
_COMMAND = "from planner.cli.commands_running import worker; worker()"
_OWN = """from planner.cli.workspace import operations
    with operations().working(): pass"""


def test_what_the_operator_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAITING, "ACTIVE")
    let_waiting_threads_sleep()
    assert os.environ[WAITING] == "ACTIVE"
    monkeypatch.delenv(WAITING)
    let_waiting_threads_sleep()
    assert os.environ[WAITING] == "PASSIVE"


@pytest.mark.parametrize("begins", [_COMMAND, _OWN], ids=["worker", "measure"])
def test_it_is_said_before_torch_is_loaded(begins: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _BEGINS % begins], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "told\n"), ended.stderr
