"""The examples under deploy/: their syntax, and the promises that the operations notes make of them."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from planner.cli.app import app
from planner.settings import SECRETS_DIR, Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = ("bitplan.service", "bitplan-worker@.service")


class Unit(configparser.RawConfigParser):
    """A unit file: case counts, and a key that is there twice has both values, one a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#", ";"), inline_comment_prefixes=None)
        lines: list[str] = []
        for line in path.read_text().splitlines():
            key, _, value = line.partition("=")
            same = next((at for at, known in enumerate(lines) if value and known.startswith(f"{key}=")), None)
            if same is None:
                lines.append(line)
            else:
                lines[same] += f" {value}"
        self.read_string("\n".join(lines))

    def optionxform(self, optionstr: str) -> str:
        return optionstr

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self["Service"]["Environment"].split())


def known_variable(name: str) -> bool:
    return name == SECRETS_DIR or name.removeprefix("BITPLAN_").lower() in Settings.model_fields


def parse(arguments: list[str]) -> None:
    """Parse a command line of `bitplan` without running it.

    Raises:
        click.UsageError: no such command, option or argument.
    """
    command: Any = get_command(app)
    context = command.make_context("bitplan", list(arguments))
    while getattr(command, "commands", None):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_compose_has_what_it_refers_to(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("secrets", ())) <= compose["secrets"].keys(), name
        assert set(service.get("networks", ())) <= compose["networks"].keys(), name
        assert set(service.get("depends_on", ())) <= compose["services"].keys(), name
        named = {volume.split(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "/$."}
        assert named <= compose["volumes"].keys(), name


def test_containers_run_without_rights_and_on_a_read_only_disk(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        if name != "database":
            assert service["user"].split(":")[0] not in ("0", "root"), name
            assert service["cap_drop"] == ["ALL"], name
            assert all(volume.endswith(":ro") for volume in service["volumes"]), name


def test_commands_and_variables_are_ours(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name == "database":
            continue
        parse(service["command"])
        assert all(map(known_variable, service["environment"])), name


def test_secrets_are_files_and_what_listens_is_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    values = [str(value) for service in compose["services"].values() for value in service.get("environment", {}).values()]
    assert not [value for value in values if "@" in value]
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    assert compose["services"]["serve"]["ports"] == ["127.0.0.1:8000:8000"]
    assert compose["networks"]["inside"]["internal"] is True


def test_health_is_readiness(compose: dict[str, Any]) -> None:
    check = compose["services"]["serve"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]
    compile(check[3], "healthcheck", "exec")
    assert "/readyz" in check[3]


def test_the_image_is_no_roots_and_takes_nothing_but_packages() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    known = {"FROM", "ARG", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {instruction[0] for instruction in instructions} <= known
    last = [instruction[1] for instruction in instructions if instruction[0] == "USER"][-1]
    assert last.split(":")[0] not in ("0", "root")
    packages = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert packages == {
        "README.md",
        "constraints.txt",
        "pyproject.toml",
        "solvers",
        "sensitivity",
        "planner",
        "api",
        "migrations",
    }
    variables = re.findall(r"(BITPLAN_\w+)=", (DEPLOY / "Dockerfile").read_text())
    assert variables
    assert all(map(known_variable, variables))


@pytest.mark.parametrize("name", UNITS)
def test_units_start_our_commands_without_rights(name: str) -> None:
    unit = Unit(DEPLOY / name)
    service = unit["Service"]
    program, *arguments = service["ExecStart"].replace("%i", "cpu").split()
    assert program.endswith("/bin/bitplan")
    parse(arguments)
    assert service["User"] == "bitplan"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert unit.environment[SECRETS_DIR] == "%d"
    assert all(known_variable(variable) for variable in unit.environment if variable.startswith("BITPLAN_"))
    assert service["LoadCredential"].startswith("bitplan_database_url:")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="the parser above is all that there is here")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    """With a program and a user that this machine has."""
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/opt/bitplan/.venv/bin/bitplan", "/bin/true")
        text = re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE)
        (tmp_path / name.replace("@.", "@cpu.")).write_text(text)
    files = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_notes_name_commands_variables_and_figures_that_exist() -> None:
    notes = (DEPLOY.parent / "docs" / "operations.md").read_text()
    said = [line for block in re.findall(r"```sh\n(.*?)```", notes, re.DOTALL) for line in block.splitlines()]
    inline = [line for line in re.findall(r"`(bitplan [^`]+)`", notes) if "ID" not in line]
    assert len(said) + len(inline) > 10
    for line in {*said, *inline}:
        program, *arguments = line.split()
        assert program == "bitplan"
        parse([*arguments, "NAME"] if arguments[-1] in ("backup", "delete") else arguments)
    assert all(map(known_variable, set(re.findall(r"BITPLAN_[A-Z_]+", notes))))
    source = "".join((DEPLOY.parent / "api" / name).read_text() for name in ("metrics.py", "database_metrics.py"))
    figures = {name.removesuffix("_total") for name in re.findall(r"`[^`]*?(bitplan_(?!database_url)[a-z_]+)", notes)}
    assert len(figures) > 5
    assert not [name for name in figures if f'"{name}"' not in source]
