"""Requests and documents of devices and their measured latencies."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat, ValidationError, model_validator

from planner.devices.csv_table import parse_csv
from planner.devices.profile import PLAIN, Arithmetic, DeviceProfile, Figure, MemoryPool, Trust
from planner.devices.table import LATENCY_FORMATS, LatencyEntry, LatencyTable
from planner.errors import InvalidRequestError
from planner.schemas.base import Line, Schema
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.registry import resolve_format

DEVICE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ENTRY_LIMIT = 50_000
"""Entries of a table: a hundred shapes in twenty formats at twenty-five batches."""
CSV_LIMIT = 8 * 2**20
"""Characters of a table: more than so many entries take."""

Made = TypeVar("Made", bound=Schema)
DeviceName = Annotated[str, Field(min_length=1, max_length=100, pattern=DEVICE_PATTERN, examples=["h100-sxm", "my-laptop"])]


class FigureDocument(Schema):
    """A number of a device, and where it comes from."""

    value: Annotated[FiniteFloat, Field(description="in the unit of its field")]
    source: Annotated[Line, Field(max_length=300, description="where it comes from")] = ""
    status: Annotated[Trust, Field(description="whether a source states it, bitplan measured it, or neither")] = Trust.UNVERIFIED


class PoolDocument(Schema):
    """Memory that weights or caches can lie in."""

    name: Annotated[Line, Field(min_length=1, max_length=40, description="what it is called", examples=["vram"])]
    bandwidth: Annotated[FigureDocument, Field(description="bytes a second at which the arithmetic reads it")]
    size: Annotated[FigureDocument | None, Field(description="bytes; null where it depends on the machine")] = None


class DeviceFacts(Schema):
    """A device: memory, rates, overhead. Every figure is positive; only the overhead may be 0."""

    name: Annotated[DeviceName, Field(description="what it is called")]
    description: Annotated[Line, Field(max_length=300, description="one line for people")] = ""
    pools: Annotated[
        list[PoolDocument],
        Field(min_length=1, max_length=8, description="memory pools; weights lie in the first unless it is said"),
    ]
    peaks: Annotated[
        dict[Arithmetic, FigureDocument],
        Field(description="dense operations a second by arithmetic, a multiply-add is two; of fp32, fp16, bf16 at least one"),
    ]
    kernel_seconds: Annotated[FigureDocument, Field(description="overhead of one kernel, in seconds")] = FigureDocument(value=0.0)
    bandwidth_share: Annotated[FigureDocument, Field(description="share of the bandwidth that kernels reach, at most 1")] = (
        FigureDocument(value=0.7, source="assumed: 0.6 to 0.85 is usual")
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self._refuse_odd_names()
        for what, found, least, most in self._figures():
            if not least <= found.value <= most:
                msg = f"{what} is {found.value:g}, and must be from {least:g} to {most:g}"
                raise ValueError(msg)
        return self

    def _refuse_odd_names(self) -> None:
        if not PLAIN & self.peaks.keys():
            msg = f"peaks must have one of {', '.join(sorted(PLAIN))}: kernels that dequantize weights compute in it"
            raise ValueError(msg)
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            msg = "two memory pools have one name: give each its own"
            raise ValueError(msg)

    def _figures(self) -> list[tuple[str, FigureDocument, float, float]]:
        found = [(f"peaks.{name}", figure, 1e6, 1e21) for name, figure in self.peaks.items()]
        for pool in self.pools:
            found.append((f"bandwidth of {pool.name}", pool.bandwidth, 1e6, 1e17))
            found.extend([] if pool.size is None else [(f"size of {pool.name}", pool.size, 1.0, 2.0**60)])
        found.append(("kernel_seconds", self.kernel_seconds, 0.0, 1.0))
        return [*found, ("bandwidth_share", self.bandwidth_share, 0.01, 1.0)]

    def profile(self) -> DeviceProfile:
        """The facts as planning uses them."""
        return DeviceProfile(
            name=self.name,
            description=self.description,
            pools=tuple(
                MemoryPool(pool.name, _figure(pool.bandwidth), None if pool.size is None else _figure(pool.size))
                for pool in self.pools
            ),
            peaks={arithmetic: _figure(figure) for arithmetic, figure in self.peaks.items()},
            kernel_seconds=_figure(self.kernel_seconds),
            bandwidth_share=_figure(self.bandwidth_share),
        )


def _figure(document: FigureDocument) -> Figure:
    return Figure(document.value, document.source, document.status)


class CreateDevice(DeviceFacts):
    """Keep a device of your own."""


class DeviceDocument(DeviceFacts):
    """A device that plans can be made for."""

    built_in: Annotated[bool, Field(description="comes with bitplan; it cannot be changed or deleted")]
    digest: Annotated[str, Field(description="SHA-256 over profile and table: equal digests give equal plans")]
    measured_entries: Annotated[int, Field(description="entries of its latency table")]
    created_at: Annotated[datetime | None, Field(description="when it was stored; null for one that comes with bitplan")] = None


class DeviceList(Schema):
    """Devices: those that come with bitplan, then stored ones by name."""

    items: Annotated[list[DeviceDocument], Field(description="all of them")]


def _known_format(name: str) -> str:
    """The canonical name of a format that a layer may be timed in.

    Raises:
        ValueError: no such format.
    """
    if name.upper() in LATENCY_FORMATS.values():
        return name.upper()
    try:
        return resolve_format(name).name
    except UnknownFormatError as error:
        raise ValueError(str(error)) from error


class LatencyDocument(Schema):
    """The measured time of one linear layer."""

    out_features: Annotated[int, Field(ge=1, le=2**24, description="rows of the weight")]
    in_features: Annotated[int, Field(ge=1, le=2**24, description="columns of the weight")]
    format: Annotated[
        str, Field(max_length=60, description="format of the weights; FP32 for float32"), AfterValidator(_known_format)
    ]
    batch: Annotated[int, Field(ge=1, le=2**24, description="rows of activations: sequences (decode), or tokens (prefill)")]
    seconds: Annotated[FiniteFloat, Field(gt=0, le=3600, description="its best time")]
    standard_deviation: Annotated[FiniteFloat | None, Field(ge=0, description="of its repetitions, in seconds")] = None

    @property
    def key(self) -> tuple[int, int, str, int]:
        """What an entry is of: shape, format, batch."""
        return self.out_features, self.in_features, self.format, self.batch


class Measurement(Schema):
    """How latencies were measured."""

    processor: Annotated[Line, Field(max_length=200, description="name of the processor")] = ""
    threads: Annotated[int | None, Field(ge=1, le=2**16, description="threads of a kernel")] = None
    software: Annotated[Line, Field(max_length=200, description="what ran the kernels", examples=["torch 2.13.0"])] = ""
    method: Annotated[Line, Field(max_length=1000, description="how it was timed: clock, repetitions, caches, kernels")] = ""
    measured_at: Annotated[datetime | None, Field(description="when")] = None


class LatencyTableDocument(Measurement):
    """Measured latencies of a device, and how they were measured."""

    entries: Annotated[
        list[LatencyDocument],
        Field(min_length=1, max_length=ENTRY_LIMIT, description="each shape, format and batch once"),
    ]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        seen: set[tuple[int, int, str, int]] = set()
        for entry in self.entries:
            if entry.key in seen:
                shape = f"{entry.out_features} × {entry.in_features}"
                msg = f"{shape}, {entry.format}, batch {entry.batch} is there twice: give each shape, format and batch once"
                raise ValueError(msg)
            seen.add(entry.key)
        return self

    def table(self) -> LatencyTable:
        """The entries as planning uses them."""
        return LatencyTable(
            LatencyEntry(
                (entry.out_features, entry.in_features), entry.format, entry.batch, entry.seconds, entry.standard_deviation
            )
            for entry in self.entries
        )


class PutLatencies(Measurement):
    """Replace what was measured on a device. Give ``entries`` or ``csv``."""

    entries: Annotated[
        list[LatencyDocument] | None,
        Field(min_length=1, max_length=ENTRY_LIMIT, description="each shape, format and batch once"),
    ] = None
    csv: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=CSV_LIMIT,
            description="the entries as CSV: a line of the names out_features, in_features, format, batch, seconds and, "
            "if it is known, standard_deviation, then a line for each entry",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if (self.entries is None) == (self.csv is None):
            msg = "give entries or csv, and not both"
            raise ValueError(msg)
        return self

    def document(self) -> LatencyTableDocument:
        """The table.

        Raises:
            InvalidRequestError: CSV that cannot be read, with the number of the line; an entry that is there twice.
        """
        entries = self.entries if self.csv is None else _read_csv(self.csv)
        how = self.model_dump(exclude={"entries", "csv"})
        return _validated(LatencyTableDocument, {"entries": entries or [], **how}, "the table")


def _read_csv(text: str) -> list[LatencyDocument]:
    return [_validated(LatencyDocument, row, f"line {number}") for number, row in parse_csv(text, most=ENTRY_LIMIT)]


def _validated(kind: type[Made], facts: Mapping[str, Any], what: str) -> Made:
    try:
        return kind.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f" {part}" for part in first["loc"])
        msg = f"{what}{where}: {first['msg']}"
        raise InvalidRequestError(msg) from error
