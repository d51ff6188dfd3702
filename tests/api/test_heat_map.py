"""Layout and colours of the heat map, and how numbers are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.web.formatting import duration, in_bytes, in_count
from api.web.heat_map import HeatMap, colour, lay_out
from planner.schemas.curves import CellDocument


def cell(loss: float | None, *, kind: str = "q_proj", block: int | None = 0, layer: str = "layer") -> CellDocument:
    status = "measured" if loss is not None else "no_tokens"
    return CellDocument(layer=layer, kind=kind, block=block, format="INT4_G64", status=status, loss=loss, standard_error=None)


def fills(*losses: float | None) -> list[str | None]:
    drawing: HeatMap = lay_out([cell(loss, block=block) for block, loss in enumerate(losses)], "nats/token")
    return [tile.fill for tile in drawing.tiles]


def luminance(fill: str) -> float:
    """Relative luminance of sRGB (WCAG 2.2)."""
    channels = [int(fill[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_scale_rises_in_lightness_so_that_it_is_read_without_colours() -> None:
    steps = [luminance(colour(step / 100)) for step in range(101)]
    assert steps == sorted(steps)
    assert luminance(colour(1)) - luminance(colour(0)) > 0.7


def test_the_scale_is_logarithmic() -> None:
    assert fills(1e-6, 1e-3, 1.0) == [colour(0), colour(0.5), colour(1)]


def test_zero_is_harmless_and_no_number_has_no_colour() -> None:
    assert fills(0.0, None, 1e-3, 1e-1) == [colour(0), None, colour(0), colour(1)]
    assert fills(-1e-9, 1.0) == [colour(0), colour(0.5)]
    assert fills(None) == [None]
    assert fills(0.0) == [colour(0)]
    assert fills() == []


def test_experts_share_a_tile_that_shows_their_mean() -> None:
    drawing = lay_out([cell(0.1, layer="expert 0"), cell(0.3, layer="expert 1"), cell(None, layer="expert 2")], "nats/token")
    (tile,) = drawing.tiles
    assert tile.title == "q_proj of block 0, 3 layers: mean 0.2 nats/token"
    assert drawing.greatest == pytest.approx(0.2)


def test_what_lies_outside_of_the_blocks_is_the_last_column() -> None:
    drawing = lay_out([cell(0.1, kind="lm_head", block=None), cell(0.2, block=7)], "nats/token")
    assert [label for _, label in drawing.columns] == ["7", "–"]
    assert [label for _, label in drawing.rows] == ["lm_head", "q_proj"]
    head, other = drawing.tiles
    assert head.x > other.x


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e300)), max_size=40))
def test_any_losses_give_a_drawing(losses: list[float | None]) -> None:
    assert len(fills(*losses)) == len(losses)
    assert all(fill is None or len(fill) == 7 for fill in fills(*losses))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (269_060_552, "269 MB"), (999_999, "1 MB"), (1.4e11, "140 GB")]
)
def test_bytes(size: float, text: str) -> None:
    assert in_bytes(size) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (134_515_008, "135 M"), (7e9, "7 B"), (999_999, "1 M")])
def test_counts(number: float, text: str) -> None:
    assert in_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.0, "0 s"), (59.6, "1 min"), (61, "1 min"), (3600, "1 h"), (200_000, "2 d")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
