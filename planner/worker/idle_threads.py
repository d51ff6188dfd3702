"""What threads of arithmetic do while they wait for each other: sleep, instead of keeping a processor busy."""

import os
from typing import Final

WAITING: Final = "OMP_WAIT_POLICY"
"""Variable of OpenMP; what the operator set for it wins."""


def let_waiting_threads_sleep() -> None:
    """Have a thread that is done sleep until the others are: where cores have other work, those it waits for need this one.

    Call before torch is loaded: OpenMP's library reads its variables when it is.
    """
    os.environ.setdefault(WAITING, "PASSIVE")
