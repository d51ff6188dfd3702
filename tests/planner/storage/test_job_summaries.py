"""Summaries of jobs: the short parts of a payload, and how long the others are."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from planner.storage.database import Database
from planner.storage.job_summaries import LEFT_OUT, LONGEST, summary_of
from planner.storage.tables import JobRow
from tests import synthetic

VALUES = st.one_of(
    st.integers(),
    st.none(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=40),
    st.dictionaries(st.text(), st.integers()),
)


@given(st.dictionaries(st.text(max_size=5), VALUES), st.dictionaries(st.text("xyz", min_size=6), st.integers(LONGEST, 9_999)))
def test_every_part_is_repeated_or_counted(short: dict[str, Any], long: dict[str, int]) -> None:
    found = summary_of(short | {name: [0] * entries for name, entries in long.items()})
    assert found.pop(LEFT_OUT, {}) == long
    assert found == short


def test_a_few_long_names_are_a_long_table() -> None:
    assert summary_of({"cells": {"a": ["x" * LONGEST], "b": []}, "text": "x" * LONGEST}) == {
        "text": "x" * LONGEST,
        LEFT_OUT: {"cells": 2},
    }


def test_the_summary_of_a_row_follows_its_payload(database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session)
        session.add(JobRow(id="job", kind="sensitivity", model_id=model, payload={"probe": "kl", "layers": ["x"] * LONGEST}))
    with database.session() as session:
        row = session.get_one(JobRow, "job")
        row.payload = {**row.payload, "memory": {"peak_bytes": 1}}
    with database.read_session() as session:
        found = session.scalars(select(JobRow.summary)).one()
    assert found == {"probe": "kl", "memory": {"peak_bytes": 1}, LEFT_OUT: {"layers": LONGEST}}
