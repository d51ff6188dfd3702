"""Plans and evaluations as tables for people."""

from collections import Counter
from collections.abc import Sequence

from rich.markup import escape

from planner.budget import BudgetKind
from planner.cli.reporting import in_bytes, out, show_table, with_error
from planner.schemas.frontiers import FrontierDocument
from planner.schemas.plans import Evaluation, Measured, PlanDocument, Prediction, Reference
from planner.schemas.proofs import KeptCount, KeptLimit, Proof
from planner.schemas.sizes import Size


def show_plan(document: PlanDocument) -> None:
    """A plan: what it takes, what it costs, how good it is."""
    size, proof, predicted = document.size, document.proof, document.predicted
    out.print(f"[bold]plan {document.id}[/] of {escape(document.model_name)} for {document.runtime}", highlight=False)
    reference = document.references[0]
    rows = [
        ["effective bits", f"{size.effective_bits:.4f}"],
        ["file", f"{in_bytes(size.file_bytes)} ({size.file_bytes:,} bytes)"],
        *_tensors(size),
        ["resident", f"{in_bytes(size.resident_bytes)} (KV cache {in_bytes(size.kv_bytes)})"],
        ["predicted loss", f"{with_error(predicted.loss, predicted.standard_error)} {predicted.unit}"],
        *_step(predicted),
        *_correction(document),
        *_cross_terms(predicted),
        ["curves", f"{predicted.probe}, rounding {document.provenance.rounding}"],
        *_objective(proof),
        ["proof", f"{proof.status}: gap {proof.gap:.2g}, lower bound {proof.lower_bound:.6g}"],
        *([kept.what, _kept(kept)] for kept in proof.counts),
        *_smallest(proof),
        *_binding(document),
        [reference.label, _uniform(reference, predicted.unit, inverse=proof.smallest is not None)],
        ["solved in", f"{1000 * proof.solve_seconds:.1f} ms"],
    ]
    show_table("", ["what", "value"], rows)
    if len(document.limits) > 1 or not _counts_bits(document):
        _show_limits(document)
    formats = sorted({choice.format for choice in document.choices}, key=document.formats.index)
    counts = Counter((choice.kind, choice.format) for choice in document.choices)
    kinds = list(dict.fromkeys(choice.kind for choice in document.choices))
    table = [[kind, *(str(counts[kind, fmt] or "·") for fmt in formats)] for kind in kinds]
    show_table("layers by kind and format", ["kind", *formats], table)
    if document.kv:
        _show_caches(document)
    if document.placement:
        _show_placement(document)
    if document.alternatives:
        _show_alternatives(document)
    for line in (*_caveats(document), *(f"note: {note}" for note in document.notes)):
        out.print(line, markup=False, highlight=False)


def _binding(document: PlanDocument) -> list[list[str]]:
    """What stops the plan from getting better; bits that are left, and their price, where bits are limited."""
    stops = document.binding or "nothing"
    if not _counts_bits(document):
        return [["binding", stops]]
    price = f"{document.price_per_megabyte:.3g} {document.predicted.unit}"
    return [["binding", f"{stops}; {document.proof.slack_bits} bits left"], ["one more MB buys", price]]


def _counts_bits(document: PlanDocument) -> bool:
    """Stored bits are limited, as they are in all plans that say nothing of limits."""
    return not document.limits or any(BudgetKind(limit.kind).counts_bits for limit in document.limits)


def _smallest(proof: Proof) -> list[list[str]]:
    """How far a plan is proven to be the smallest."""
    found = proof.smallest
    if found is None:
        return []
    if found.least_bits == found.bits:
        return [["smallest", f"proven: no plan of fewer bits, {found.solves} budgets solved"]]
    return [["smallest", f"between {in_bytes(found.least_bits // 8)} and {in_bytes(-(-found.bits // 8))}: not proven"]]


def _show_limits(document: PlanDocument) -> None:
    """Every limit: what is used, what is left, and what one more unit would buy."""
    rows = [
        [
            _what(limit),
            _in_unit(limit.kind, limit.used),
            _in_unit(limit.kind, limit.limit),
            _in_unit(limit.kind, limit.slack),
            _shadow_price(limit, document.predicted.unit),
        ]
        for limit in document.limits
    ]
    show_table("limits", ["limit", "used", "of", "left", "price"], rows)


def _what(limit: KeptLimit) -> str:
    if limit.pool is not None:
        return f"bytes in {limit.pool}"
    return limit.kind.replace("_", " ") + (f" on {limit.device}" if limit.device else "")


def _show_placement(document: PlanDocument) -> None:
    used = {limit.pool: in_bytes(int(limit.used)) for limit in document.limits}
    rows = [
        [part.pool, str(len(part.layers)), in_bytes(-(-part.size_bits // 8)), used.get(part.pool, "")]
        for part in document.placement
    ]
    columns = ["pool", "layers", "their bytes", "with what is not planned"]
    show_table("what lies where (--json names the layers)", columns, rows)


def _in_unit(kind: str, value: float) -> str:
    if kind.endswith("bytes"):
        return in_bytes(int(value))
    if kind.endswith("seconds"):
        return f"{1000 * value:.4g} ms"
    return f"{value:.5g}"


def _shadow_price(limit: KeptLimit, unit: str) -> str:
    """For a unit that people count in: a megabyte, a millisecond, a bit."""
    if not limit.price:
        return "binds" if limit.binds else "does not bind"
    if limit.kind.endswith("bytes"):
        return f"{1e6 * limit.price:.3g} {unit} a MB"
    if limit.kind.endswith("seconds"):
        return f"{limit.price / 1000:.3g} {unit} a ms"
    if limit.kind == "bit_operations":
        return f"{1e9 * limit.price:.3g} {unit} a G"
    return f"{limit.price:.3g} {unit} a bit"


def _show_caches(document: PlanDocument) -> None:
    counts = Counter((choice.tensor, choice.format) for choice in document.kv)
    bits: Counter[tuple[str, str]] = Counter()
    for choice in document.kv:
        bits[choice.tensor, choice.format] += choice.size_bits
    rows = [[tensor, name, str(count), in_bytes(-(-bits[tensor, name] // 8))] for (tensor, name), count in sorted(counts.items())]
    show_table("caches by tensor and format", ["tensor", "format", "layers", "bytes"], rows)


def _uniform(reference: Reference, unit: str, *, inverse: bool) -> str:
    if reference.loss is None:
        return "no single format is allowed and fits"
    size = f", {in_bytes(reference.size.file_bytes)}" if reference.size is not None and inverse else ""
    return f"{reference.loss:.4g} {unit}{size}{'' if reference.keeps_counts else ' (breaks the counts)'}"


def _tensors(size: Size) -> list[list[str]]:
    """How many bytes of a file are tensors, where they are not all."""
    if size.tensor_bytes is None or not size.container_bytes:
        return []
    return [["tensors in it", f"{in_bytes(size.tensor_bytes)} ({size.tensor_bytes:,} bytes)"]]


def _step(predicted: Prediction) -> list[list[str]]:
    """Where a refined plan comes from."""
    step = predicted.step
    if step is None:
        return []
    start = with_error(step.from_loss, step.from_error)
    return [["step", f"{step.layers} layers changed, {step.change:+.4g} from {start}; {step.errors:g} standard errors held back"]]


def _cross_terms(predicted: Prediction) -> list[list[str]]:
    """The predicted loss with what the layers do together, where that was measured."""
    terms = predicted.cross_terms
    return [] if terms is None else [["with cross terms", f"{with_error(terms.total, terms.total_error)} {predicted.unit}"]]


def _correction(document: PlanDocument) -> list[list[str]]:
    """The same cells the other way: as measured where the plan was made with expected losses, and the reverse."""
    found, predicted = document.corrected, document.predicted
    if found is None:
        return []
    if document.request.shrinkage:
        return [["its cells as measured", f"{found.uncorrected_loss:.4g} {predicted.unit}: too low for chosen cells"]]
    return [["corrected loss", f"{with_error(found.loss, found.standard_error)} {predicted.unit}"]]


def _caveats(document: PlanDocument) -> list[str]:
    """What keeps the plan from being better, and what keeps its prediction from being sure."""
    limit, trust = document.menu_limit, document.confidence
    better = [found.advice for found in limit.uniforms[:1]] if limit is not None else []
    if limit is not None and limit.wider is not None:
        better.append(limit.wider.advice)
    return [
        *(f"the menu is the limit: {advice}" for advice in better),
        *(f"low confidence: {reason}" for reason in (trust.reasons if trust is not None else [])),
    ]


def _objective(proof: Proof) -> list[list[str]]:
    """What a cautious plan is judged by."""
    return [] if proof.objective is None else [[f"loss + {proof.caution:g} × error", f"{proof.objective:.6g}"]]


def _kept(kept: KeptCount) -> str:
    """A count, its limits, and what the one that binds costs."""
    limits = [f"{word} {limit}" for word, limit in (("at most", kept.at_most), ("at least", kept.at_least)) if limit is not None]
    price = kept.at_most_multiplier + kept.at_least_multiplier
    return f"{kept.layers} ({', '.join(limits)}{f'; one layer costs {price:.3g}' if price else ''})"


def _show_alternatives(document: PlanDocument) -> None:
    rows = [
        [
            f"{index}",
            with_error(other.predicted_loss, other.standard_error),
            f"{other.effective_bits:.4f}",
            in_bytes(other.file_bytes),
            str(other.layers),
            f"{other.gap:.1e}",
        ]
        for index, other in enumerate(document.alternatives, start=1)
    ]
    show_table("alternatives", ["", "predicted", "bits", "file", "layers that differ", "gap"], rows)


def show_frontier(document: FrontierDocument) -> None:
    """A frontier: one row a budget, the knee marked, and what one format everywhere would cost."""
    rows = [
        [
            f"{point.effective_bits:.3f}",
            in_bytes(point.resident_bytes),
            with_error(point.predicted_loss, point.standard_error),
            "" if point.gap is None else f"{point.gap:.0e}",
            f"{point.price_per_megabyte:.2g}",
            "knee" if index == document.knee else "",
        ]
        for index, point in enumerate(document.points)
    ]
    rows += [
        [
            f"{uniform.effective_bits:.3f}",
            in_bytes(uniform.resident_bytes),
            f"{uniform.predicted_loss:.4g}",
            "",
            "",
            uniform.format if uniform.kv_format is None else f"{uniform.format}, {uniform.kv_format}",
        ]
        for uniform in document.uniforms
    ]
    losses = "expected losses" if document.shrunk else "losses as measured"
    curves = f"{document.probe}, rounding {document.provenance.rounding}, {losses}, {document.unit}"
    title = f"frontier of {document.model_name} for {document.runtime} ({curves})"
    show_table(title, ["bits", "memory", "predicted", "gap", "one MB buys", ""], rows)
    out.print(f"solved in {1000 * document.solve_seconds:.1f} ms", highlight=False)
    for note in document.notes:
        out.print(f"note: {note}", highlight=False)


def show_evaluations(items: Sequence[Evaluation]) -> None:
    """Measured quality of several assignments, and the reference that they are compared with."""
    routed = any(item.router_flips is not None for item in items)
    rows = [
        [
            item.label,
            f"{item.effective_bits:.4f}",
            *(_measured(quantity) for quantity in (item.kl, item.perplexity, item.top1_agreement)),
            *([_measured(item.router_flips)] if routed else []),
        ]
        for item in items
    ]
    if items:
        rows.append(["reference", "", "0", _measured(items[0].reference_perplexity), "1", *(["0"] if routed else [])])
    columns = ["assignment", "bits", "KL (nats/token)", "perplexity", "top-1", *(["router flips"] if routed else [])]
    show_table("measured on held-out text", columns, rows)


def _measured(quantity: Measured | None) -> str:
    return "" if quantity is None else with_error(quantity.value, quantity.standard_error)
