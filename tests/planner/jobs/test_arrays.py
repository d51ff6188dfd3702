"""Arrays survive as bytes, bit for bit; damage is noticed."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from planner.jobs.arrays import pack, unpack
from planner.jobs.errors import PermanentError


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0), elements=st.floats(allow_nan=True)))
def test_an_array_comes_back_bit_for_bit(array: np.ndarray) -> None:
    back = unpack(pack(array))
    assert back.shape == array.shape
    assert back.dtype == np.float64
    assert back.tobytes() == array.tobytes()


@given(hnp.arrays(np.float64, (3, 4)))
def test_the_layout_in_memory_does_not_matter(array: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack(array.T)), array.T)
    np.testing.assert_array_equal(unpack(pack(array[::2, ::-1])), array[::2, ::-1])


def test_other_numbers_become_float64() -> None:
    assert unpack(pack(np.array([1, 2], dtype=np.int8))).tolist() == [1.0, 2.0]
    assert unpack(pack(np.float32(0.5))).shape == ()


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a"]), np.array([1j])])
def test_what_is_no_real_number_is_refused(array: np.ndarray) -> None:
    with pytest.raises(PermanentError, match="real numbers"):
        pack(array)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: b"",
        lambda packed: packed[:20],
        lambda packed: packed[:-1],
        lambda packed: packed + b"x",
        lambda packed: b"x" + packed,
        lambda packed: pickle.dumps([1.0]),
    ],
)
def test_damaged_bytes_are_an_error_that_says_what_to_do(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(PermanentError, match="submit the job again"):
        unpack(damage(pack(np.arange(3.0))))


def test_a_pickled_object_inside_is_never_loaded(tmp_path: object) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(PermanentError, match="cannot be read"):
        unpack(buffer.getvalue())
