"""What a process remembers of a database, so that it need not read or compute it again: bounded, and fresh or not at all."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Kept:
    version: Hashable
    value: Any
    size: int


class Memory:
    """Values by key, each with the version of the facts that it was made from; the least recently used are forgotten first.

    Safe to share between threads. Threads that miss the same key at once each make the value; the last one is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        """An empty memory.

        Args:
            most_bytes: sum of the sizes of what is kept; a larger value is not kept at all.
        """
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Sum of the sizes of what is kept."""
        return self._bytes

    def recall(
        self, key: Hashable, make: Callable[[], Value], *, size: Callable[[Value], int | None], version: Hashable = None
    ) -> Value:
        """The value of a key, made if it is not known in this version; raises what ``make`` raises, and keeps nothing then.

        Args:
            key: what is asked for; keys of one kind always have values of one type.
            make: makes the value; it must read facts of ``version`` or later ones.
            size: about how many bytes a value takes; ``None`` for one that is not worth keeping.
            version: of the facts behind it; equal versions mean equal values.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found.version == version:
                self._kept.move_to_end(key)
                return cast(Value, found.value)
        value = make()
        taken = size(value)
        if taken is not None:
            self._keep(key, _Kept(version, value, taken))
        return value

    def _keep(self, key: Hashable, new: _Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._bytes -= 0 if old is None else old.size
            if new.size > self.most_bytes:
                return
            self._kept[key] = new
            self._bytes += new.size
            while self._bytes > self.most_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.size
