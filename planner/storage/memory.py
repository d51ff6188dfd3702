"""What a process remembers of a database, so that it need not read or compute it again: bounded, and fresh or not at all."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar, cast

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Kept:
    version: Hashable
    value: Any
    size: int


@dataclass(slots=True)
class _Turn:
    """Threads that want one key, of which one makes the value."""

    lock: Lock = field(default_factory=Lock)
    threads: int = 0


class Memory:
    """Values by key, each with the version of the facts that it was made from; the least recently used are forgotten first.

    One value that would drive most others out can have a place of its own: who works on a very large model asks the same question
    again and again.

    Safe to share between threads. Threads that miss the same key at once each make the value, and the last one is kept, unless
    they are told to wait for the first.
    """

    def __init__(self, most_bytes: int, *, largest_bytes: int = 0) -> None:
        """An empty memory.

        Args:
            most_bytes: sum of the sizes of what is kept.
            largest_bytes: of a value of more than half of that, of which the latest is kept beside the others; one that is larger
                still is not kept at all. By default all values are kept together.
        """
        self.most_bytes = most_bytes
        self.largest_bytes = largest_bytes
        self._most_of_one = most_bytes if largest_bytes < most_bytes else most_bytes // 2
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._large: tuple[Hashable, _Kept] | None = None
        self._bytes = 0
        self._turns: dict[Hashable, _Turn] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept) + (self._large is not None)

    @property
    def bytes(self) -> int:
        """Sum of the sizes of what is kept."""
        return self._bytes + (0 if self._large is None else self._large[1].size)

    def recall(
        self,
        key: Hashable,
        make: Callable[[], Value],
        *,
        size: Callable[[Value], int | None],
        version: Hashable = None,
        waiting: bool = False,
    ) -> Value:
        """The value of a key, made if it is not known in this version; raises what ``make`` raises, and keeps nothing then.

        Args:
            key: what is asked for; keys of one kind always have values of one type.
            make: makes the value; it must read facts of ``version`` or later ones.
            size: about how many bytes a value takes; ``None`` for one that is not worth keeping.
            version: of the facts behind it; equal versions mean equal values.
            waiting: for another thread that makes a value of this key. Nothing that ``make`` recalls may depend on this key.
        """
        found = self._known(key, version)
        if found is not None:
            return cast(Value, found.value)
        if not waiting:
            return self._make(key, make, size, version)
        with self._turn(key):
            found = self._known(key, version)
            return self._make(key, make, size, version) if found is None else cast(Value, found.value)

    def _make(self, key: Hashable, make: Callable[[], Value], size: Callable[[Value], int | None], version: Hashable) -> Value:
        value = make()
        taken = size(value)
        if taken is not None:
            self._keep(key, _Kept(version, value, taken))
        return value

    @contextmanager
    def _turn(self, key: Hashable) -> Iterator[None]:
        """One thread at a time for each key."""
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.threads += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.threads -= 1
                if turn.threads == 0:
                    del self._turns[key]

    def _known(self, key: Hashable, version: Hashable) -> _Kept | None:
        with self._lock:
            found = self._found(key)
        return found if found is not None and found.version == version else None

    def _found(self, key: Hashable) -> _Kept | None:
        if self._large is not None and self._large[0] == key:
            return self._large[1]
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _keep(self, key: Hashable, new: _Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._bytes -= 0 if old is None else old.size
            if self._large is not None and self._large[0] == key:
                self._large = None
            if new.size > self._most_of_one:
                self._large = (key, new) if new.size <= self.largest_bytes else self._large
                return
            self._kept[key] = new
            self._bytes += new.size
            while self._bytes > self.most_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= forgotten.size
