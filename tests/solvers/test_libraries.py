"""The libraries behind the solvers live in one process, whichever comes first, and nobody loads them without calling them."""

import subprocess
import sys

import pytest

ORDERS = [
    "from ortools.sat.python import cp_model; import cvxpy; import scipy.optimize",
    "import cvxpy; from ortools.sat.python import cp_model",
    "import scipy.optimize; import highspy; from ortools.sat.python import cp_model",
]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("imports", ORDERS)
def test_any_order_of_imports(imports: str) -> None:
    done = python(imports)
    assert done.returncode == 0, done.stderr


def test_importing_the_solvers_loads_numpy_alone() -> None:
    heavy = ("scipy", "ortools", "cvxpy", "clarabel", "highspy", "pandas")
    done = python(f"import sys, solvers; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
