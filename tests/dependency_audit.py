"""What the environment is made of: ``python -m tests.dependency_audit``, part of `make check`; needs no network.

Everything that bitplan needs, directly or through others, must be pinned in constraints.txt, be there in that version, and have
a licence of the list below; so must whatever of constraints-exports.txt, the libraries of other engines, is installed. Known
vulnerabilities are no part of this: their list changes daily, and `make audit` asks for it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final, final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
CONSTRAINTS: Final = ROOT / "constraints.txt"
ENGINE_CONSTRAINTS: Final = ROOT / "constraints-exports.txt"
ENGINES: Final = ROOT / ".venv-exports"
OF_EVERY_ENVIRONMENT: Final = frozenset({"pip", "setuptools"})
ALLOWED: Final = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python",
    "ISC", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
})  # fmt: skip
"""SPDX identifiers. LGPL and MPL bind changes of the library itself, of which there are none here."""
SPOKEN: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What older metadata call a licence."""
READ: Final = {"torchao": "BSD-3-Clause"}
"""Licences of packages whose metadata name none, from the file that they carry."""


@final
@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution that is needed.

    Attributes:
        name: normalised.
        version: what is installed, without a build's own suffix (``+cpu``); empty if it is missing.
        licence: an SPDX expression, or whatever the metadata say; empty if they say nothing.
    """

    name: str
    version: str
    licence: str


def needed(root: str, extras: frozenset[str] = frozenset()) -> list[Installed]:
    """Everything that a distribution needs here, itself not among it, by name."""
    found: dict[str, Installed] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            there = distribution(name)
        except PackageNotFoundError:
            found[name] = Installed(name, "", "")
            continue
        if name != root:
            found[name] = Installed(name, there.version.split("+")[0], licence_of(there))
        waiting += list(_wanted(there, extra))
    return [found[name] for name in sorted(found)]


def of_engines(environment: Path) -> list[Installed]:
    """Everything that was installed into the environment of the engines' libraries, by name; nothing if there is none."""
    paths = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = [
        Installed(canonicalize_name(there.name), there.version.split("+")[0], licence_of(there))
        for there in distributions(path=paths)
    ]
    return sorted((one for one in found if one.name not in OF_EVERY_ENVIRONMENT), key=lambda one: one.name)


def _wanted(there: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for line in there.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), of_its) for of_its in ("", *requirement.extras))


def licence_of(there: Distribution) -> str:
    """The SPDX expression of the metadata, or what the classifiers or the old field say instead."""
    said = there.metadata.get_all("License-Expression") or []
    said += [line.rsplit(" :: ", 1)[1] for line in there.metadata.get_all("Classifier") or () if line.startswith("License :: ")]
    said += there.metadata.get_all("License") or []
    spoken = said[0].split("\n")[0] if said else READ.get(canonicalize_name(there.name), "")
    return SPOKEN.get(spoken, spoken)


def is_allowed(licence: str) -> bool:
    """Whether one of the alternatives of an expression asks for nothing but allowed licences."""
    return any(all(part in ALLOWED for part in choice.split(" AND ")) for choice in licence.strip("()").split(" OR "))


def pins(text: str) -> dict[str, str]:
    """Version by name of the lines ``name==version``."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.!]+)", text, re.MULTILINE)}


def faults(installed: list[Installed], pinned: Mapping[str, str], file: Path = CONSTRAINTS) -> Iterator[str]:
    """What is wrong, in words, with the packages that a file pins."""
    for one in installed:
        if not one.version:
            yield f"{one.name} is needed and not installed: run make install"
        elif one.name not in pinned:
            yield f"{one.name} is needed and not pinned: add {one.name}=={one.version} to {file.name}"
        elif one.version != pinned[one.name]:
            yield f"{one.name} is {one.version} here and pinned to {pinned[one.name]}: run make install"
        elif not is_allowed(one.licence):
            yield f"{one.name} has the licence {one.licence!r}: read it, and allow it here or replace the package"


def main() -> int:
    """Print one line: ``ok:`` or what is wrong."""
    installed = needed("bitplan", frozenset({"dev"}))
    engines = of_engines(ENGINES)
    found = list(faults(installed, pins(CONSTRAINTS.read_text())))
    found += faults(engines, pins(ENGINE_CONSTRAINTS.read_text()), ENGINE_CONSTRAINTS)
    counts = f"{len(installed)} dependencies and {len(engines)} libraries of engines"
    sys.stdout.write("\n".join(found) + "\n" if found else f"ok: {counts}, pinned, with allowed licences\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
