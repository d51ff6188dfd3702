"""Short labels that tell rows of a picture apart: the kind of a layer, else as much of its path as is needed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

GAP: Final = "…"
"""Between two parts of a path that do not follow each other."""

_Part = tuple[str | None, tuple[str, ...]]


def row_labels(paths: Sequence[tuple[str, ...]], kinds: Sequence[str]) -> list[str]:
    """A label for each row, no two alike.

    ``c_attn`` is called so where no other row is of this kind; ``attn.c_proj`` and ``mlp.c_proj`` are told apart by the end of
    their paths; ``encoder…q`` and ``decoder…q`` by what stands further in front.

    Args:
        paths: of the rows, without the number of the block: ``("transformer", "h", "attn", "c_proj")``; no two alike.
        kinds: of their layers.
    """
    of_kind = Counter(kinds)
    shared = [path for path, kind in zip(paths, kinds, strict=True) if of_kind[kind] > 1]
    met = Counter(part for path in shared for part in set(_parts(path)))
    return [
        kind if of_kind[kind] == 1 else next((_written(part) for part in _parts(path) if met[part] == 1), ".".join(path))
        for path, kind in zip(paths, kinds, strict=True)
    ]


def _parts(path: tuple[str, ...]) -> Iterator[_Part]:
    """Ends of a path of two segments and more, each followed by those as long that jump to one in front, to a word first."""
    for length in range(2, len(path) + 1):
        yield None, path[-length:]
        for far in sorted(path[-length - 1 :: -1], key=str.isdecimal):
            yield far, path[1 - length :]


def _written(part: _Part) -> str:
    far, end = part
    return ".".join(end) if far is None else f"{far}{GAP}{'.'.join(end)}"
