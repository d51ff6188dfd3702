"""Options that several commands share, and how they are read."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Final, Literal

import typer

from planner.errors import InvalidRequestError
from planner.schemas.jobs import Streaming
from planner.schemas.plans import BudgetSpec, CountSpec

Formats = Annotated[str | None, typer.Option("--formats", "-f", help="Candidate formats, comma-separated (INT4_G64,INT8_G64).")]
Runtime = Annotated[str, typer.Option("--runtime", "-r", help="Engine that will serve the plan (see `bitplan runtimes`).")]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="Layers to leave unquantized, by pattern; repeatable.")]
Pins = Annotated[list[str] | None, typer.Option("--pin", help="PATTERN=FORMAT; repeatable.")]
Floors = Annotated[list[str] | None, typer.Option("--floor", help="PATTERN=BITS, least num_bits; repeatable.")]
Ceilings = Annotated[list[str] | None, typer.Option("--ceiling", help="PATTERN=BITS, greatest num_bits; repeatable.")]
Menus = Annotated[list[str] | None, typer.Option("--menu", help="PATTERN=FORMAT,FORMAT,…; repeatable.")]
Experts = Annotated[
    str,
    typer.Option(
        "--experts",
        help="Which routed experts of a block share a format, beside what the runtime ties: free (none), block (all), projection "
        "(those of each projection), or a number: so many groups of experts by the rank of their sensitivity.",
    ),
]
Counts = Annotated[
    list[str] | None,
    typer.Option(
        "--count",
        help="How many layers may or must take some formats: [PATTERN]>BITS or [PATTERN]=FORMAT,…, then <=MOST, >=LEAST or both. "
        "'>6<=20': at most 20 layers above 6 bits; '*.down_proj=INT8_G64>=4': at least 4 down_proj in INT8_G64. "
        "Tied layers count one by one; repeatable.",
    ),
]
Caution = Annotated[
    float, typer.Option("--caution", help="Plan for loss + CAUTION × its standard error; 0 plans for the loss alone.")
]
Shrinkage = Annotated[
    bool,
    typer.Option(
        "--shrinkage/--no-shrinkage",
        help="Plan with expected losses, freed of the luck of their measurement, or with the cells as measured.",
    ),
]
Rounding = Annotated[
    str | None,
    typer.Option("--rounding", help="Only curves of weights rounded by this method (rtn, gptq, …); by default by any."),
]
ReuseRatio = Annotated[
    float,
    typer.Option("--reuse-ratio", help="A cell did not move where its layer's change is below this share of the rounding error."),
]
Bits = Annotated[
    str | None,
    typer.Option("--bits", "-b", help="Budget in effective bits per planned weight; several, comma-separated, make a table."),
]
File = Annotated[str | None, typer.Option("--file", help="Budget in bytes of the file: 20GB, 18.5GiB, 123456; or several.")]
Memory = Annotated[
    str | None, typer.Option("--memory", "-m", help="Budget in resident bytes: weights + KV cache + workspace; or several.")
]
DecodeMs = Annotated[
    str | None, typer.Option("--decode-ms", help="Budget in milliseconds to decode a token of each sequence; needs --device.")
]
PrefillMs = Annotated[
    str | None, typer.Option("--prefill-ms", help="Budget in milliseconds to read a prompt of --context tokens; needs --device.")
]
Device = Annotated[str | None, typer.Option("--device", help="Device whose milliseconds these are (see `bitplan device list`).")]
BitOperations = Annotated[
    str | None, typer.Option("--bit-operations", help="Budget in bit-operations of a token (weight bits × 16): 1.5T, 300G.")
]
MaxLoss = Annotated[
    str | None, typer.Option("--max-loss", help="The inverse: the smallest plan that is predicted to lose no more, or several.")
]
Pools = Annotated[
    list[str] | None,
    typer.Option("--pool", help="NAME=BYTES of a memory pool of --device (vram=8GB): what lies where is planned; repeatable."),
]
MeasuredLoss = Annotated[
    bool,
    typer.Option(
        "--measured", help="Of --max-loss: measure the loss, by a bisection with evaluations, instead of predicting it; minutes."
    ),
]
KV = Annotated[
    str | None,
    typer.Option(
        "--kv",
        help="Plan the K and V caches too, in these formats: int8,int4 for both, k_int8,v_int4 for one; measured for all.",
    ),
]
Setting = Annotated[
    str | None,
    typer.Option("--setting", help="Id of the probe setting to plan with (see `bitplan curves list MODEL`), whatever is newer."),
]
KVSetting = Annotated[
    str | None,
    typer.Option("--kv-setting", help="With --kv: id of the setting of the caches' cells; by default the freshest of kv_cache."),
]
Context = Annotated[
    int, typer.Option("--context", "-c", help="Tokens in the KV cache of one sequence, or of its prompt, for --memory and times.")
]
Batch = Annotated[int, typer.Option("--batch", help="Sequences served at once, for --memory and times.")]
Workspace = Annotated[str, typer.Option("--workspace", help="Bytes left free for activations, for --memory.")]

LIMITS: Final[Mapping[str, tuple[str, Literal["plain", "bytes", "operations", "ms"]]]] = {
    "--bits": ("effective_bits", "plain"),
    "--file": ("file_bytes", "bytes"),
    "--memory": ("resident_bytes", "bytes"),
    "--decode-ms": ("decode_seconds", "ms"),
    "--prefill-ms": ("prefill_seconds", "ms"),
    "--bit-operations": ("bit_operations", "operations"),
    "--max-loss": ("max_loss", "plain"),
}
"""Options that are limits: what they limit, and how their values are written."""

_COUNT = re.compile(r"([^<>=]*)(?:>(\d+)|=([^<>=]+))((?:[<>]=\d+){1,2})")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def read_bytes(text: str) -> int:
    """``20GB``, ``18.5GiB`` or ``123456`` as bytes.

    Raises:
        InvalidRequestError: neither a number nor a number with a unit.
    """
    found = _scaled(text, r"([kmgt]?i?)b?")
    if found is None:
        msg = f"cannot read {text!r} as bytes: write 20GB, 18.5GiB or a plain number of bytes"
        raise InvalidRequestError(msg)
    return found


def _scaled(text: str, units: str) -> int | None:
    """A number with one of some units; ``None`` if it is written otherwise."""
    match = re.fullmatch(rf"\s*([0-9]{{0,20}}\.?[0-9]{{1,20}})\s*{units}\s*", text, re.IGNORECASE)
    unit = match.group(2).lower() if match else "?"
    return int(Fraction(match.group(1)) * _UNITS[unit]) if match is not None and unit in _UNITS else None


def read_number(text: str | None, option: str) -> float | None:
    """A plain number, or bytes with their unit.

    Raises:
        InvalidRequestError: neither.
    """
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(read_bytes(text))
    except InvalidRequestError as error:
        msg = f"cannot read --{option} {text!r}: write a number of bits, or bytes such as 20GB"
        raise InvalidRequestError(msg) from error


def read_time(text: str | None, option: str) -> datetime | None:
    """A moment in the words of ISO 8601; by this machine's clock where no zone is given.

    Raises:
        InvalidRequestError: written otherwise.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        msg = f"cannot read --{option} {text!r}: write 2026-11-28 or 2026-11-28T09:30"
        raise InvalidRequestError(msg) from error


def read_budgets(
    limits: Mapping[str, str | None],
    *,
    device: str | None,
    context: int,
    batch: int,
    workspace: str,
    pools: Sequence[str] | None = None,
) -> list[BudgetSpec]:
    """The limits that were given, together; one of them may list several values, comma-separated: a budget for each.

    Args:
        limits: what was given for each option of ``LIMITS``.
        device: whose milliseconds.
        context: tokens in the cache, or of the prompt.
        batch: sequences at once.
        workspace: bytes left free.
        pools: ``NAME=BYTES`` items of memory pools.

    Raises:
        InvalidRequestError: no limit, several values of more than one, or a value that cannot be read.
    """
    given = {option: read_list(text) or [] for option, text in limits.items() if text is not None}
    several = [option for option, values in given.items() if len(values) > 1]
    if not all(given.values()) or not (given or pools) or len(several) > 1:
        msg = f"give one of {', '.join(LIMITS)}, or several of them, of which one may list several values, comma-separated"
        raise InvalidRequestError(msg)
    in_pools = {name: read_bytes(text) for name, text in read_pairs(pools, "pool").items()} or None
    rest = {
        "device": device,
        "context": context,
        "batch": batch,
        "workspace_bytes": read_bytes(workspace),
        "pool_bytes": in_pools,
    }
    fixed = {LIMITS[option][0]: _read_limit(option, values[0]) for option, values in given.items() if option not in several}
    if not several:
        return [BudgetSpec.model_validate(fixed | rest)]
    kind = LIMITS[several[0]][0]
    numbers = [_read_limit(several[0], value) for value in given[several[0]]]
    return [BudgetSpec.model_validate(fixed | rest | {kind: number}) for number in numbers]


def _read_limit(option: str, text: str) -> str | int | float:
    unit = LIMITS[option][1]
    if unit == "plain":
        return text
    if unit == "bytes":
        return read_bytes(text)
    if unit == "operations":
        return _read_operations(option, text)
    return read_milliseconds(option, text)


def read_milliseconds(option: str, text: str) -> float:
    """Milliseconds as seconds, without the rounding of a division of floats.

    Raises:
        InvalidRequestError: no number.
    """
    try:
        return float(Fraction(text) / 1000)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        msg = f"cannot read {option} {text!r} as milliseconds: write a plain number"
        raise InvalidRequestError(msg) from error


def _read_operations(option: str, text: str) -> int:
    found = _scaled(text, "([kmgt]?)")
    if found is None:
        msg = f"cannot read {option} {text!r}: write a number of bit-operations, such as 1.5T, 300G or 300000000000"
        raise InvalidRequestError(msg)
    return found


StreamingChoice = Annotated[
    Streaming,
    typer.Option(
        help="Read the model's blocks from disk one at a time: auto does if the whole model would not fit. Same numbers.",
    ),
]


def read_list(text: str | None) -> list[str] | None:
    """A comma-separated list."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def read_pairs(items: Sequence[str] | None, option: str) -> dict[str, str]:
    """``PATTERN=VALUE`` items; the pattern may hold ``=`` no more than a layer name may.

    Raises:
        InvalidRequestError: an item without ``=``, or one pattern twice with different values.
    """
    found: dict[str, str] = {}
    for item in items or ():
        pattern, sign, value = item.partition("=")
        if not (sign and pattern and value):
            msg = f"--{option} {item!r}: write PATTERN=VALUE, for example '*.down_proj=INT8_G64'"
            raise InvalidRequestError(msg)
        if found.get(pattern, value) != value:
            msg = f"--{option} gives {pattern!r} both {found[pattern]} and {value}: keep one"
            raise InvalidRequestError(msg)
        found[pattern] = value
    return found


def read_bits(items: Sequence[str] | None, option: str) -> dict[str, int]:
    """``PATTERN=BITS`` items.

    Raises:
        InvalidRequestError: a value that is no whole number.
    """
    pairs = read_pairs(items, option)
    wrong = [f"{pattern}={value}" for pattern, value in pairs.items() if not value.isdigit()]
    if wrong:
        msg = f"--{option} {wrong[0]!r}: bits are a whole number, for example '*.down_proj=4'"
        raise InvalidRequestError(msg)
    return {pattern: int(value) for pattern, value in pairs.items()}


def read_values(items: Sequence[str] | None, option: str) -> dict[str, float | int | str | bool | None]:
    """``NAME=VALUE`` items; a value that reads as a number is one."""
    return {name: _value(text) for name, text in read_pairs(items, option).items()}


def _value(text: str) -> float | int | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def read_menus(items: Sequence[str] | None) -> dict[str, list[str]]:
    """``PATTERN=FORMAT,FORMAT`` items."""
    return {pattern: read_list(names) or [] for pattern, names in read_pairs(items, "menu").items()}


def read_experts(text: str) -> Literal["free", "block", "projection"] | int:
    """``free``, ``block``, ``projection`` or a number of groups.

    Raises:
        InvalidRequestError: none of these.
    """
    if text.isascii() and text.isdecimal() and 0 < len(text) < 7:
        return int(text)
    for word in ("free", "block", "projection"):
        if text == word:
            return word
    msg = f"--experts {text!r}: write free, block, projection, or a number of groups"
    raise InvalidRequestError(msg)


def read_counts(items: Sequence[str] | None) -> list[CountSpec]:
    """``[PATTERN]>BITS<=MOST`` and ``[PATTERN]=FORMAT,FORMAT>=LEAST`` items, with one limit or both; spaces do not matter.

    Raises:
        InvalidRequestError: an item that is written otherwise.
    """
    return [_read_count(item) for item in items or ()]


def _read_count(item: str) -> CountSpec:
    match = _COUNT.fullmatch(re.sub(r"\s", "", item))
    limits = re.findall(r"([<>])=(\d+)", match.group(4)) if match else []
    given = {"at_most" if sign == "<" else "at_least": int(number) for sign, number in limits}
    if match is None or len(given) < len(limits):
        msg = (
            f"--count {item!r}: write '[PATTERN]>BITS<=MOST' or '[PATTERN]=FORMAT,FORMAT>=LEAST', for example '*.down_proj>6<=20'"
        )
        raise InvalidRequestError(msg)
    return CountSpec(
        pattern=match.group(1) or "*",
        above_bits=None if match.group(2) is None else int(match.group(2)),
        formats=read_list(match.group(3)),
        at_most=given.get("at_most"),
        at_least=given.get("at_least"),
    )
