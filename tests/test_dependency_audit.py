"""The audit finds what it is for; of the environment itself it finds nothing."""

from pathlib import Path

import pytest

from tests.dependency_audit import (
    CONSTRAINTS,
    ENGINE_CONSTRAINTS,
    ENGINES,
    Installed,
    faults,
    is_allowed,
    needed,
    of_engines,
    pins,
)

PINNED = {"a": "1.0"}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Installed("a", "", ""), "not installed"),
        (Installed("b", "1.0", "MIT"), "add b==1.0 to constraints.txt"),
        (Installed("a", "1.1", "MIT"), "is 1.1 here and pinned to 1.0"),
        (Installed("a", "1.0", "AGPL-3.0-only"), "has the licence 'AGPL-3.0-only'"),
        (Installed("a", "1.0", ""), "has the licence ''"),
    ],
)
def test_a_fault_is_said_with_what_to_do(found: Installed, said: str) -> None:
    (fault,) = faults([found], PINNED)
    assert said in fault


def test_nothing_is_said_of_what_is_as_it_should_be() -> None:
    assert not list(faults([Installed("a", "1.0", "MIT")], PINNED))


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception", True),
        ("(MIT OR Apache-2.0)", True),
        ("UNKNOWN", False),
    ],
)
def test_one_allowed_choice_is_enough_and_every_part_of_it_counts(licence: str, allowed: bool) -> None:
    assert is_allowed(licence) is allowed


def test_pins_are_read_by_normalised_name() -> None:
    assert pins("# a==1\nJinja2==3.1.6\nast_serialize==0.13.1\n") == {"jinja2": "3.1.6", "ast-serialize": "0.13.1"}


def test_the_environment_has_no_fault() -> None:
    installed = needed("bitplan", frozenset({"dev"}))
    assert {"torch", "psycopg-binary", "pytest", "h11"} <= {one.name for one in installed}
    assert not list(faults(installed, pins(CONSTRAINTS.read_text())))


def test_what_is_installed_for_the_engines_is_pinned_too(tmp_path: Path) -> None:
    assert not of_engines(tmp_path)
    place = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, version in (("Engine", "2.0"), ("pip", "23.2.1")):
        folder = place / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n")
    assert of_engines(tmp_path) == [Installed("engine", "2.0", "MIT")]
    (fault,) = faults(of_engines(tmp_path), PINNED, ENGINE_CONSTRAINTS)
    assert "add engine==2.0 to constraints-exports.txt" in fault


def test_the_environments_of_the_engines_are_as_they_should_be() -> None:
    assert not list(faults(of_engines(ENGINES), pins(ENGINE_CONSTRAINTS.read_text()), ENGINE_CONSTRAINTS))
