"""Whatever is in a file, an importer gives a result or one clear error, and never a traceback."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidImportError
from planner.importers import IMPORTERS, SourceFile, choose_importer
from tests.any_json import ANYTHING, places, replaced
from tests.planner.importers import files

_SHORT = settings(max_examples=40, deadline=None, derandomize=True, database=None)


NAMES = files.toy_names()


@cache
def _imatrix() -> bytes:
    with TemporaryDirectory() as folder:
        return files.toy_gguf(Path(folder) / "imatrix.gguf").content


SAMPLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "exllamav2": ("exllamav2", lambda: files.stored(files.MEASUREMENT).content),
    "autoround": ("autoround", lambda: files.stored(files.SCHEMES[0]).content),
    "mlx_lm": ("mlx_lm", lambda: files.stored(files.SENSITIVITIES).content),
    "evopress": ("evopress", lambda: files.stored(files.CONFIGURATION).content),
    "gguf": ("imatrix", _imatrix),
    "table": ("table", lambda: files.table().content),
    "dat": ("imatrix", lambda: files.imatrix_dat(files.toy_moments()).content),
}


def _try(content: bytes, importer: str) -> None:
    """Read as that tool's and as whatever it looks like."""
    source = SourceFile("file", content)
    for name in (importer, None):
        try:
            found = choose_importer([source], name)
            found.read([source], NAMES, found.options)
        except InvalidImportError as error:
            assert "file" in str(error)  # noqa: PT017  (it may also succeed)


@pytest.mark.parametrize("sample", SAMPLES)
def test_truncated_and_damaged_files(sample: str) -> None:
    importer, make = SAMPLES[sample]
    content = make()

    @_SHORT
    @given(end=st.integers(0, len(content)), at=st.integers(0, max(0, len(content) - 8)), junk=st.binary(max_size=8))
    def check(end: int, at: int, junk: bytes) -> None:
        _try(content[:end], importer)
        _try(content[:at] + junk + content[at + len(junk) :], importer)
        head = at % 64
        _try(content[:head] + junk + content[head + len(junk) :], importer)

    check()


@_SHORT
@given(
    content=st.binary(max_size=200),
    prefix=st.sampled_from([b"", b"layer,format,loss\n", b"GGUF", b"GGUF\x03\0\0\0", b"[[", b'{"measurement": ']),
)
def test_random_bytes(content: bytes, prefix: bytes) -> None:
    for importer in IMPORTERS:
        _try(prefix + content, importer)


@pytest.mark.parametrize("sample", ["exllamav2", "autoround", "mlx_lm"])
def test_any_value_in_any_place_of_a_document(sample: str) -> None:
    importer, make = SAMPLES[sample]
    document = json.loads(make())
    somewhere = list(places(document))

    @_SHORT
    @given(place=st.sampled_from(somewhere), value=ANYTHING)
    def check(place: tuple[Any, ...], value: object) -> None:
        try:
            text = json.dumps(replaced(document, place, value))
        except ValueError:  # an integer too long to be written
            return
        _try(text.encode(), importer)

    check()
