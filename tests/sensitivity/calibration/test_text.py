"""Reading calibration text: every kind of file, every refusal."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sensitivity import calibration
from sensitivity.calibration import CalibrationSpec, fingerprint, read_text
from sensitivity.errors import CalibrationError

PROSE = "A first line.\nA second one, with é and 漢字.\r\n"


def _write(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def _parquet(path: Path, **columns: list[object]) -> str:
    parquet.write_table(pa.table(columns), path)
    return str(path)


def test_builtin_text_is_all_topics_in_the_order_of_their_keys() -> None:
    text, label = read_text("builtin")
    assert label == "builtin"
    assert text == "\n\n".join(value for _, value in sorted(topics.items()))
    assert len(text) > 400_000


def test_txt_is_read_as_it_stands(tmp_path: Path) -> None:
    assert read_text(_write(tmp_path / "a.txt", PROSE)) == (PROSE, "a.txt")


def test_txt_loses_its_byte_order_mark_and_the_suffix_may_be_upper_case(tmp_path: Path) -> None:
    assert read_text(_write(tmp_path / "A.TXT", b"\xef\xbb\xbfwords")) == ("words", "A.TXT")


def test_jsonl_joins_records_by_an_empty_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "one\u2028still one", "id": 1}, ensure_ascii=False), "", json.dumps({"text": "two"})]
    assert read_text(_write(tmp_path / "a.jsonl", "\n".join(lines) + "\n"))[0] == "one\u2028still one\n\ntwo"


def test_parquet_joins_rows_and_skips_nulls(tmp_path: Path) -> None:
    texts = [f"row {i}" for i in range(200)]
    source = _parquet(tmp_path / "a.parquet", id=list(range(201)), text=[*texts, None])
    assert read_text(source) == ("\n\n".join(texts), "a.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "holds no text"),
        ("a.txt", " \n\t\n", "holds no text"),
        ("a.txt", b"abc\xff\xfe", r"not UTF-8 \(byte 3\); convert it: iconv"),
        ("a.jsonl", "\n\n", "holds no text"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("a.jsonl", '["text"]', "line 1 is no JSON object"),
        ("a.jsonl", '{"content": "x", "id": 3}', "line 1 has no key 'text', only 'content', 'id'"),
        ("a.jsonl", "{}", "only nothing"),
        ("a.jsonl", '{"text": 3}', "line 1 has a 'text' that is no string"),
        ("a.jsonl", '{"text": "\\ud800"}', "line 1 holds a lone surrogate"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", b'{"text": "\xff"}', "not UTF-8"),
        ("a.parquet", b"PAR1 nothing", "no readable Parquet file"),
        ("a.parquet", b"", "no readable Parquet file"),
        ("a.csv", "text\nx", r"neither 'builtin' nor a file that ends in .txt, .jsonl, .parquet"),
    ],
)
def test_refuses_what_is_no_text(tmp_path: Path, name: str, content: bytes | str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        read_text(_write(tmp_path / name, content))


def test_refuses_a_parquet_file_without_the_column_and_lists_what_it_has(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {f"c{i}": [1] for i in range(12)}
    with pytest.raises(CalibrationError, match=r"no column 'text', only 'c0', .*'c9' and 2 more; rename"):
        read_text(_parquet(tmp_path / "a.parquet", **columns))


def test_refuses_a_parquet_column_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"column 'text' of a\.parquet holds int64"):
        read_text(_parquet(tmp_path / "a.parquet", text=[1, 2]))


def test_refuses_a_parquet_column_of_lists(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"column 'text' of a\.parquet holds list"):
        read_text(_parquet(tmp_path / "a.parquet", text=[["a"], ["b"]]))


def test_refuses_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("none.txt", "folder.txt"):
        with pytest.raises(CalibrationError, match="there is no calibration file"):
            read_text(str(tmp_path / name))


@pytest.mark.parametrize(("name", "advice"), [("a.txt", "iconv -c"), ("a.jsonl", "head -n"), ("a.parquet", "fewer rows")])
def test_refuses_a_text_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, advice: str) -> None:
    monkeypatch.setattr(calibration, "TEXT_LIMIT", 2**20)
    content: bytes | str = "x" * (2**20 + 1)
    path = tmp_path / name
    if name == "a.parquet":  # the file is small, what it holds is not
        source = _parquet(path, text=["x" * 2**14] * 65)
        assert path.stat().st_size < 2**18
    else:
        source = _write(path, content)
    with pytest.raises(CalibrationError, match=rf"more than 1 MiB of text.*{advice}"):
        read_text(source)


def test_refuses_a_line_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LINE_LIMIT", 100)
    with pytest.raises(CalibrationError, match="line 2 has 113 characters, more than 100"):
        read_text(_write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "' + "x" * 100 + '"}\n'))


def test_refuses_a_line_of_lists_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"line 1 is not JSON \(it has more than 2,097,152 values"):
        read_text(_write(tmp_path / "a.jsonl", "[" + "[]," * 2_000_000 + "[]]"))


def test_a_parquet_file_that_says_how_large_it_is_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TEXT_LIMIT", 2**20)
    source = _parquet(tmp_path / "a.parquet", text=["x" * 2**21])
    monkeypatch.setattr("pyarrow.parquet.ParquetFile.iter_batches", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(CalibrationError, match="more than 1 MiB of text"):
        read_text(source)


def test_a_word_that_many_rows_repeat_is_in_memory_once(tmp_path: Path) -> None:
    """20,000 rows of a megabyte in a file of some kilobytes: the limit is found after 64 of them."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 2**20]))
    parquet.write_table(pa.table({"text": words}), tmp_path / "a.parquet", compression="zstd")
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(CalibrationError, match="more than 64 MiB of text"):
        read_text(str(tmp_path / "a.parquet"))
    assert pa.default_memory_pool().max_memory() < before + 2**26


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_rows_that_are_null_or_repeated_keep_their_order(tmp_path: Path, kind: str) -> None:
    column = pa.array(["b", None, "a", "b", "", "c"] * 50, getattr(pa, kind)())
    for number, dictionary in enumerate((True, False)):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.table({"text": column}), path, use_dictionary=dictionary, row_group_size=70)
        assert read_text(str(path))[0] == "\n\n".join(["b", "a", "b", "", "c"] * 50)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_whatever_the_bytes_a_calibration_error_is_all_that_comes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        _parquet(path, text=["one text", "another", None, "one text"], other=[1, 2, 3, 4])
    else:
        _write(path, '{"text": "one text", "other": [1, 2]}\n{"text": "another"}\n')
    content = path.read_bytes()

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(end=st.integers(0, len(content)), at=st.integers(0, len(content)), junk=st.binary(min_size=1, max_size=6))
    def check(end: int, at: int, junk: bytes) -> None:
        for damaged in (content[:end], content[:at] + junk + content[at + len(junk) :]):
            path.write_bytes(damaged)
            try:
                read_text(str(path))
            except CalibrationError as error:
                assert len(str(error)) < 2000  # noqa: PT017  (it may also succeed)

    check()


@pytest.mark.parametrize(
    "changes",
    [{"sequences": 0}, {"held_out_sequences": 0}, {"sequence_length": 1}, {"held_out_length": 1}, {"seed": -1}, {"seed": 2**63}],
)
def test_specification_refuses_numbers_out_of_range(changes: dict[str, int]) -> None:
    with pytest.raises(CalibrationError, match=rf"{next(iter(changes))} is .*give a whole number from"):
        CalibrationSpec(**changes)


def test_specification_refuses_what_is_no_whole_number() -> None:
    with pytest.raises(CalibrationError, match="sequences is True"):
        CalibrationSpec(sequences=True)


@given(st.text(), st.text(), st.integers(0, 2**63 - 1), st.integers(1, 9))
def test_fingerprint_is_a_function_of_text_and_numbers(text: str, other: str, seed: int, count: int) -> None:
    text, other = (t.encode(errors="replace").decode() for t in (text, other))
    spec = CalibrationSpec(seed=seed, sequences=count)
    first = fingerprint(text, spec)
    assert len(first) == 64
    assert fingerprint(text, CalibrationSpec(seed=seed, sequences=count)) == first
    assert (fingerprint(other, spec) == first) == (other == text)
    assert fingerprint(text, CalibrationSpec(seed=seed, sequences=count + 1)) != first


def test_fingerprint_refuses_a_lone_surrogate() -> None:
    with pytest.raises(CalibrationError, match="lone surrogate"):
        fingerprint("a\ud800", CalibrationSpec())
