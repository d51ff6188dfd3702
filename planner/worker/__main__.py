"""`python -m planner.worker --parent-pid N`: the worker beside `bitplan serve`; its settings come from the environment."""

import argparse

from planner.worker.beginning import leave_on_signals


def main() -> None:
    """Work until the parent is gone or a signal says stop."""
    leave_on_signals()
    parser = argparse.ArgumentParser(prog="python -m planner.worker", description="A worker of bitplan.")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is no longer our parent")
    parent_pid: int | None = parser.parse_args().parent_pid

    from planner.worker.beside_service import work  # seconds, in which a signal is heard already

    work(parent_pid)


if __name__ == "__main__":
    main()
