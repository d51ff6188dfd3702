"""The house rules that no linter keeps: names, sizes, and contracts that forget nobody."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("solvers", "sensitivity", "planner", "api", "migrations")
SOURCES = sorted(path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py"))
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
MAY_REACH_TORCH = {"planner.cli", "planner.worker"}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_names_are_ours(package: str) -> None:
    """The names are generic, so another distribution's package of that name must not be what is imported."""
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / package


def test_files_stay_small() -> None:
    large = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 500}
    assert not large


def test_module_names_say_something() -> None:
    assert not [path for path in SOURCES if path.stem in SAYS_NOTHING]


def test_every_folder_of_tests_is_a_package() -> None:
    """Or `tests/planner` would hide `planner`."""
    assert not [folder for folder in {path.parent for path in SOURCES} if not (folder / "__init__.py").exists()]


def test_the_torch_contract_forgets_no_module_of_the_planner() -> None:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    sources = next(set(c["source_modules"]) for c in contracts if "torch" in c.get("forbidden_modules", ()))
    modules = {
        f"planner.{path.stem}" for path in (ROOT / "planner").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    modules -= {"planner.__init__", "planner.decisions"}
    assert modules - MAY_REACH_TORCH <= sources
    assert {"api", "solvers"} <= sources


def test_contracts_name_every_package() -> None:
    assert set(pyproject()["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)
    built = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(built) == set(PACKAGES)


def test_dependencies_are_pinned() -> None:
    pinned = {distribution(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1].isalnum()}
    project = pyproject()["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {distribution(requirement) for requirement in wanted} <= pinned


def distribution(requirement: str) -> str:
    """Its name, normalised as PEP 503 says."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>]", requirement)[0]).lower()


def test_settings_are_documented() -> None:
    from planner.settings import Settings

    text = (ROOT / "README.md").read_text()
    missing = [name for name in Settings.model_fields if f"BITPLAN_{name.upper()}" not in text]
    assert not missing
