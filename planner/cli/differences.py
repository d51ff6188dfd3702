"""The difference of two plans as tables for people."""

from collections import Counter
from typing import Final

from planner.cli.reporting import in_bytes, out, show_table
from planner.schemas.plan_diffs import GroupChange, PlanDiff

_SAID: Final = {"effective_bits", "file_bytes", "resident_bytes", "max_loss"}


def show_diff(found: PlanDiff, most: int) -> None:
    """What changes from a plan to another one, and what it costs; at most so many of the groups of layers."""
    plans = (found.plan, found.other)
    unit = found.plan.predicted.unit
    loss = "" if found.loss_change is None else f"{found.loss_change:+.4g} {unit}"
    rows = [
        ["plan", *(one.id for one in plans), ""],
        ["model", *(one.model_name for one in plans), ""],
        ["runtime", *(one.runtime for one in plans), ""],
        ["effective bits", *(f"{one.size.effective_bits:.4f}" for one in plans), ""],
        ["file", *(in_bytes(one.size.file_bytes) for one in plans), f"{found.file_bytes_change:+,} bytes"],
        ["resident", *(in_bytes(one.size.resident_bytes) for one in plans), f"{found.resident_bytes_change:+,} bytes"],
        ["predicted loss", *(f"{one.predicted.loss:.4g}" for one in plans), loss],
        *_limits(found),
        ["layers changed", "", f"{len(found.changed)} of {found.layers}", f"{found.bits_change:+,} bits"],
    ]
    show_table("", ["what", "plan", "other", "change"], rows)
    moves = Counter((change.format, change.other_format) for change in found.changed)
    if moves:
        show_table("moves", ["from", "to", "layers"], [[*move, str(count)] for move, count in moves.most_common()])
    largest = sorted(found.groups, key=lambda group: -abs(group.bits_change))[:most]
    if largest:
        show_table("largest changes", ["layers", "bits", f"loss ({unit})"], [_group_row(found, group) for group in largest])
    if found.kv_changed:
        rows = [[one.layer, one.format, one.other_format, f"{one.bits_change:+,}"] for one in found.kv_changed[:most]]
        show_table("caches", ["cache", "from", "to", "bits"], rows)
    for fact in found.facts:
        _say(f"{fact.field}: {fact.value} → {fact.other}")
    for layers, where in ((found.only_in_plan, "the plan"), (found.only_in_other, "the other plan")):
        if layers:
            _say(f"only {where} quantizes {', '.join(layers[:5])}{' …' if len(layers) > 5 else ''}")
    for note in found.notes:
        _say(f"note: {note}")


def _limits(found: PlanDiff) -> list[list[str]]:
    """Limits that the rows before do not say: seconds, bit-operations."""
    rows = []
    for limit in found.limits:
        if limit.kind not in _SAID:
            both = [value for value in (limit.used, limit.other_used) if value is not None]
            change = f"{both[1] - both[0]:+.4g}" if len(both) > 1 else ""
            rows.append([limit.kind, *("" if one is None else f"{one:.6g}" for one in (limit.used, limit.other_used)), change])
    return rows


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _group_row(found: PlanDiff, group: GroupChange) -> list[str]:
    layers = frozenset(group.layers)
    moves = {(change.format, change.other_format) for change in found.changed if change.layer in layers}
    formats = ", ".join(f"{here} → {there}" for here, there in sorted(moves))
    more = f" and {len(group.layers) - 1} tied to it" if len(group.layers) > 1 else ""
    loss = "" if group.loss_change is None else f"{group.loss_change:+.3g}"
    return [f"{group.layers[0]}{more}: {formats}", f"{group.bits_change:+,}", loss]
