"""What a process remembers: fresh or not at all, and never more than it may."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.storage.memory import Memory


def _unused() -> int:
    pytest.fail("the value was known")


def test_a_value_is_made_once_for_a_version() -> None:
    memory = Memory(100)
    assert memory.recall("a", lambda: 1, size=lambda _: 10, version=1) == 1
    assert memory.recall("a", _unused, size=lambda _: 10, version=1) == 1
    assert memory.recall("a", lambda: 2, size=lambda _: 30, version=2) == 2
    assert (len(memory), memory.bytes) == (1, 30)


def test_the_least_recently_used_is_forgotten_first_and_what_is_too_large_is_not_kept() -> None:
    memory = Memory(100)
    for name in "ab":
        memory.recall(name, lambda: 1, size=lambda _: 50)
    memory.recall("a", _unused, size=lambda _: 50)
    memory.recall("c", lambda: 1, size=lambda _: 50)
    memory.recall("a", _unused, size=lambda _: 50)
    assert memory.recall("b", lambda: 7, size=lambda _: 101) == 7
    assert memory.recall("b", lambda: 8, size=lambda _: 101) == 8
    assert (len(memory), memory.bytes) == (2, 100)


def test_one_value_that_takes_more_than_half_of_the_room_has_a_place_of_its_own() -> None:
    memory = Memory(100, largest_bytes=500)
    memory.recall("small", lambda: 1, size=lambda _: 40)
    for name in ("a", "b"):
        assert memory.recall(name, lambda: 2, size=lambda _: 400, version=1) == 2
        memory.recall(name, _unused, size=lambda _: 400, version=1)
    memory.recall("small", _unused, size=lambda _: 40)
    memory.recall("c", lambda: 2, size=lambda _: 51)
    memory.recall("small", _unused, size=lambda _: 40)
    assert (len(memory), memory.bytes) == (2, 91)
    memory.recall("b", lambda: 2, size=lambda _: 400, version=1)
    assert (len(memory), memory.bytes) == (2, 440)
    assert memory.recall("b", lambda: 3, size=lambda _: 501, version=2) == 3  # too large for any place
    assert (len(memory), memory.bytes) == (1, 40)
    assert memory.recall("b", lambda: 4, size=lambda _: 450, version=3) == 4
    assert memory.recall("b", lambda: 5, size=lambda _: 10, version=4) == 5
    assert (len(memory), memory.bytes) == (2, 50)


def test_what_is_not_worth_keeping_is_made_again() -> None:
    memory = Memory(100)
    assert [memory.recall("a", iter([number]).__next__, size=lambda _: None) for number in (1, 2)] == [1, 2]
    assert len(memory) == 0


def test_an_error_is_raised_again_each_time_and_leaves_nothing() -> None:
    memory = Memory(100)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memory.recall("a", lambda: 1 // 0, size=lambda _: 1)
    assert len(memory) == 0


def _made(key: int, version: int, size: int) -> tuple[int, int, int]:
    return key, version, size


def _size(value: tuple[int, int, int]) -> int:
    return value[2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 60)), max_size=60))
def test_it_always_gives_what_was_asked_for_and_stays_within_its_bytes(asked: list[tuple[int, int, int]]) -> None:
    memory = Memory(100)
    for key, version, size in asked:
        found = memory.recall(key, partial(_made, key, version, size), size=_size, version=version)
        assert found[:2] == (key, version)
        assert 0 <= memory.bytes <= 100


def test_threads_share_it() -> None:
    memory = Memory(1000)
    with ThreadPoolExecutor(8) as pool:
        keys = [number % 40 for number in range(4000)]
        found = list(pool.map(lambda key: memory.recall(key, lambda: key, size=lambda _: 100), keys))
    assert found == keys
    assert memory.bytes <= 1000


def test_threads_that_wait_have_what_the_first_makes() -> None:
    memory, made = Memory(1000), []

    def slow(key: int) -> int:
        made.append(key)
        time.sleep(0.02)
        return key

    with ThreadPoolExecutor(8) as pool:
        keys = [number % 3 for number in range(30)]
        found = list(pool.map(lambda key: memory.recall(key, lambda: slow(key), size=lambda _: 100, waiting=True), keys))
    assert (found, sorted(made)) == (keys, [0, 1, 2])
    assert memory.recall(0, lambda: 7, size=lambda _: 100, version=2, waiting=True) == 7


def test_who_waits_makes_what_the_first_could_not() -> None:
    memory = Memory(1000)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memory.recall("a", lambda: 1 // 0, size=lambda _: 100, waiting=True)
    assert memory.recall("a", lambda: 1, size=lambda _: 100, waiting=True) == 1
    assert not memory._turns
