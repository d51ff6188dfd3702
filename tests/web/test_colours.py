"""Colours can be told from what they lie on, in light and dark (WCAG 2.2, 1.4.3 and 1.4.11), and stand in one place."""

import re
from pathlib import Path

import pytest

from api.web import pages

STATIC = Path(pages.__file__).parent / "static"
BASE = (STATIC / "css" / "base.css").read_text()
WRITTEN = {"text", "dim", "link", "good", "bad", "busy", "accent", *(f"hue-{hue}" for hue in range(1, 9))}
DRAWN = {"of-layers", "of-embeddings", "of-others", "pinned", "changed"}
GROUNDS = ("ground", "panel")
ON_TILES = {"#10151d", "#f4f6fa"}
"""Digits on tiles: which of them is chosen by the tile's own colour."""


def themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", BASE, re.DOTALL)
    light, dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block)) for block in blocks)
    return {"light": light, "dark": dark}


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_the_recommendation_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_told_from_what_they_lie_on(theme: str) -> None:
    colours = themes()[theme]
    assert set(colours) == WRITTEN | DRAWN | {*GROUNDS, "line"}
    for ground in GROUNDS:
        found = {name: contrast(colours[name], colours[ground]) for name in sorted(WRITTEN | DRAWN)}
        assert {name: ratio for name, ratio in found.items() if ratio < (4.5 if name in WRITTEN else 3)} == {}


def test_colours_stand_in_one_place() -> None:
    texts = [path.read_text() for path in (*STATIC.glob("css/*.css"), *STATIC.glob("js/*.js")) if path.name != "base.css"]
    texts.append(BASE[BASE.index("* { box-sizing") :])
    assert {colour for text in texts for colour in re.findall(r"#[0-9a-f]{6}\b", text)} == ON_TILES


def test_a_class_is_described_in_one_file() -> None:
    places: dict[str, set[str]] = {}
    for path in (STATIC / "css").glob("*.css"):
        for selectors in re.findall(r"^([^@\s{}][^{}]*)\{", path.read_text(), re.MULTILINE):
            for selector in selectors.split(","):
                places.setdefault(selector.strip(), set()).add(path.name)
    del places[":root"]  # a view names hues for itself
    assert {selector: sorted(files) for selector, files in places.items() if len(files) > 1} == {}
