"""What the curves are worth on a real model, and what they cost: ``make sensitivity-report``.

On any model and text: ``MODEL=DIR TEXT=file.txt make sensitivity-report``. Everything is measured by jobs on a database under
``REPORT_DIR`` (a temporary directory by default): interrupted, a second run with the same directory goes on. Symmetric INT at
group 64, round-to-nearest, the linear layers of the blocks only; KL in nats per token on held-out text. The last line begins
``ok:`` or ``short:``.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, linregress, spearmanr

from planner.curves import Curves
from planner.demo_model import smollm2_path
from planner.logs import configure_logs
from sensitivity.calibration import BUILTIN
from tests.benchmarks.desk import Assignment, Desk, Estimate, shrunk, total
from tests.benchmarks.goals import Goal, closing_line
from tests.benchmarks.second_architecture import compare

FULL = tuple(f"INT{bits}_G64" for bits in (2, 3, 4, 5, 6, 7, 8))
HOLED = tuple(f"INT{bits}_G64" for bits in (3, 4, 6, 8))
COMPARED = tuple(f"INT{bits}_G64" for bits in (2, 3, 4, 6))
BUDGETS = (4.25, 4.75, 5.25, 6.25)
MENUS = (("{3,4,6,8} tied", HOLED, True), ("{3,4,6,8} free", HOLED, False), ("{2…8} free", FULL, False))
MUST = {  # held-out KL of the last plan at each budget, SmolLM2-135M
    "{3,4,6,8} tied": (0.36, 0.155, 0.102, 0.024),
    "{3,4,6,8} free": (0.31, 0.150, 0.097, 0.0195),
    "{2…8} free": (0.30, 0.132, 0.065, 0.0168),
}
CUT = {"sequences": 48, "sequence_length": 256, "held_out_sequences": 8, "held_out_length": 512}
SMALL_CUT = {**CUT, "sequences": 2}
DRAWS = 128  # of fisher on the few sequences of the exact cells: an error of 9 % a cell
BLOCKS_APART = 3  # every third block is compared with kl: 63 of SmolLM2's layers
BETTER = 0.92  # of the plain Fisher plan's KL
SUM_WITHIN = {"INT4_G64": 0.15, "INT6_G64": 0.15}
LOW, LOW_WITHIN = "INT3_G64", 0.30  # by fisher, or by coverage, which is for low bits
ROUNDINGS = ("rtn", "rtn_clip", "gptq")
COSTS = ("test_fisher_ratio", "test_output_error_ratio", "test_kl_ratio", "test_gptq_ratio", "test_streaming_memory")
CODE_CHARACTERS = 600_000


def say(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201


@dataclass(slots=True)
class Report:
    """Goals so far.

    Attributes:
        desk: what measures.
        texts: label → source; the first is what plans are made on.
        usual_model: whether it is the model that absolute goals are set for.
    """

    desk: Desk
    texts: dict[str, str]
    usual_model: bool
    goals: list[Goal] = field(default_factory=list)

    def goal(self, name: str, value: float, limit: float, *, at_least: bool = False) -> None:
        self.goals.append(Goal(name, value, limit, at_least=at_least))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> Estimate:
    """Spearman's, with its standard error by resampling layers."""
    drawn = bootstrap(
        (first, second), lambda a, b: spearmanr(a, b)[0], paired=True, vectorized=False, n_resamples=500, method="basic", rng=0
    )
    return Estimate(float(spearmanr(first, second)[0]), float(drawn.standard_error))


def source_code(directory: Path) -> Path:
    """A text of another kind than prose: CPython's own library, one file after the other."""
    path = directory / "code.txt"
    parts: list[str] = []
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        parts.append(file.read_text(encoding="utf-8", errors="replace"))
        if sum(map(len, parts)) > CODE_CHARACTERS:
            break
    path.write_text("\n\n".join(parts)[:CODE_CHARACTERS])
    return path


def agreement(report: Report) -> None:
    """`fisher` and `coverage` against `kl`, cell by cell on the same sequences, and their sums against uniform models."""
    desk = report.desk
    some = [layer.name for layer in desk.layers if layer.block is not None and layer.block % BLOCKS_APART == 0]
    for label, source in report.texts.items():
        small, whole = desk.calibrate(source, **SMALL_CUT), desk.calibrate(source, **CUT)
        exact = desk.curves("kl", small, COMPARED, layers=some)
        cheap = desk.curves("fisher", small, COMPARED, layers=some, draws=DRAWS)
        covered = desk.curves("coverage", small, COMPARED)
        rows = [covered.layers.index(name) for name in some]
        say(f"\n{label}: {len(some)} layers, {SMALL_CUT['sequences']} × 256 tokens; rank correlation with kl, Σ ÷ Σ kl")
        say(f"{'format':>10} {'fisher':>16} {'coverage':>16} {'Σ fisher':>16} {'Σ coverage':>16} {'error of a cell':>16}")
        for k, name in enumerate(COMPARED):
            ranks = [rank_correlation(exact.loss[:, k], other) for other in (cheap.loss[:, k], covered.loss[rows, k])]
            shares = [total(other, name, some) / total(exact, name) for other in (cheap, covered)]
            error = float(np.median(cheap.standard_error[:, k] / cheap.loss[:, k]))
            say(f"{name:>10}{''.join(f' {found!s:>16}' for found in (*ranks, *shares))} {error:15.0%}")
            if name != "INT2_G64":
                report.goal(f"rank correlation of fisher with kl, {name}, {label}", ranks[0].value, 0.95, at_least=True)
        _sums_of_uniform(report, label, whole, small)


def _sums_of_uniform(report: Report, label: str, whole: str, small: str) -> None:
    desk = report.desk
    fisher = desk.curves("fisher", whole, FULL)
    covered = desk.curves("coverage", small, COMPARED)
    measured = desk.evaluate({name: desk.uniform(name) for name in FULL}, whole)
    predicted = {name: total(fisher, name) for name in FULL}
    shares = {name: total(covered, name) for name in COMPARED}
    say(f"\n{label}: uniform models, held-out KL measured, and sums over layers")
    say(f"{'format':>10} {'measured':>16} {'Σ fisher':>16} {'÷ measured':>16} {'Σ coverage':>16} {'÷ measured':>16}")
    for name in FULL:
        found = [predicted[name], predicted[name] / measured[name]]
        found += [shares[name], shares[name] / measured[name]] if name in shares else []
        say(f"{name:>10} {measured[name]!s:>16}{''.join(f' {one!s:>16}' for one in found)}")
        if name in SUM_WITHIN:
            report.goal(f"|Σ fisher ÷ measured − 1|, {name}, {label}", abs(found[1].value - 1), SUM_WITHIN[name])
        if name == LOW:
            least = min(abs(found[1].value - 1), abs(found[3].value - 1))
            report.goal(f"|Σ fisher or Σ coverage ÷ measured − 1|, {name}, {label}", least, LOW_WITHIN)
    logs = np.log([measured[name].value for name in FULL]), np.log([predicted[name].value for name in FULL])
    fitted = linregress(logs[1], logs[0])
    say(
        f"fitted link: measured = {np.exp(fitted.intercept):.3f} · (Σ fisher)^{fitted.slope:.3f} (± {fitted.stderr:.3f}), "
        f"over {FULL[0]} to {FULL[-1]}"
    )


def plans(report: Report) -> None:
    """Plans at equal exact bits: uniform, plain Fisher, and a short step from the shrunk curves' plan."""
    desk = report.desk
    calibrations = {label: desk.calibrate(source, **CUT) for label, source in report.texts.items()}
    first, *others = calibrations
    fisher = desk.curves("fisher", calibrations[first], FULL)
    say("\nerrors of ratios are as of independent numbers: on one text they are at most that")
    say(f"plans from curves of {first}; held-out KL, {CUT['held_out_sequences']} × {CUT['held_out_length']} tokens")
    columns = ("uniform", "plain Fisher", "shrunk", "one step")
    say(f"{'menu':>15} {'bits':>5}{''.join(f' {name:>16}' for name in columns)} {'÷ Fisher':>16} {'÷ uniform':>16}")
    for menu, formats, tied in MENUS:
        for bits, most in zip(BUDGETS, MUST[menu], strict=True):
            found = _compare(desk, fisher, calibrations[first], formats, bits, tied=tied)
            plain, best = found["plain Fisher"], found["one step"]
            uniform = found.get("uniform")
            shown = [str(found[name]) if name in found else "–" for name in columns]
            shown += [str(best / plain), str(best / uniform) if uniform else "–"]
            say(f"{menu:>15} {bits:5} {''.join(f' {text:>16}' for text in shown)}")
            report.goal(f"step ÷ plain Fisher, {menu}, {bits} bits", best.value / plain.value, BETTER)
            if report.usual_model:
                report.goal(f"KL of the step, {menu}, {bits} bits", best.value, most)
            if uniform is not None:
                report.goal(f"step ÷ uniform, {menu}, {bits} bits", best.value / uniform.value, 1.0)
            for label in others if formats is FULL else ():
                elsewhere = _again(desk, calibrations[label], found.assignments)
                say(f"{'':>15} on {label}: {', '.join(f'{name} {value}' for name, value in elsewhere.items())}")


class _Compared(dict[str, Estimate]):
    """Measured KL by label, and what was measured."""

    assignments: dict[str, Assignment]


def _compare(desk: Desk, fisher: Curves, calibration: str, menu: Sequence[str], bits: float, *, tied: bool) -> _Compared:
    start = desk.plan(shrunk(fisher), menu, bits, tied=tied)
    step = desk.plan(desk.refined(calibration, menu, start), menu, bits, tied=tied)
    assignments: dict[str, Assignment] = {
        "plain Fisher": desk.plan(fisher, menu, bits, tied=tied),
        "shrunk": start,
        "one step": step,
    }
    nearest = f"INT{int(bits)}_G64"
    if bits == int(bits) + 0.25:
        assignments["uniform"] = desk.uniform(nearest)
    found = _Compared(desk.evaluate(assignments, calibration))
    found.assignments = assignments
    return found


def _again(desk: Desk, calibration: str, assignments: dict[str, Assignment]) -> dict[str, Estimate]:
    return desk.evaluate(assignments, calibration)


def other_rounding(report: Report) -> None:
    """Curves and weights of better rounding rules beside those of the yardstick: reported apart."""
    bits, text = BUDGETS[0], next(iter(report.texts.values()))
    say(f"\nrounding methods, {bits} bits, {{2…8}} free; curves, plan and measurement in the same weights")
    say(f"{'rounding':>14} {'uniform':>16} {'plan':>16}")
    curves: dict[str, Curves] = {}
    for rounding in ROUNDINGS:
        desk = Desk(report.desk.path, report.desk.directory, rounding)
        calibration = desk.calibrate(text, **CUT)
        curves[rounding] = desk.curves("fisher", calibration, FULL)
        plan = desk.plan(shrunk(curves[rounding]), FULL, bits, tied=False)
        found = desk.evaluate({"uniform": desk.uniform("INT4_G64"), "plan": plan}, calibration)
        say(f"{rounding:>14} {found['uniform']!s:>16} {found['plan']!s:>16}")
    _curves_of_roundings(curves)


def _curves_of_roundings(curves: dict[str, Curves]) -> None:
    first, *others = curves
    say(f"\nfisher, Σ over layers ÷ Σ of {first}, and rank correlation with it")
    say(f"{'format':>14}{''.join(f' {name:>30}' for name in others)}")
    for k, name in enumerate(FULL):
        plain = curves[first]
        shown = [
            f"{total(curves[other], name) / total(plain, name)}, {rank_correlation(curves[other].loss[:, k], plain.loss[:, k])}"
            for other in others
        ]
        say(f"{name:>14}{''.join(f' {text:>30}' for text in shown)}")


def costs(report: Report) -> None:
    """The benchmarks, each a ratio in one run with a limit that it asserts."""
    folder = Path(__file__).parent
    for name in COSTS:
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "benchmark", str(folder / f"{name}.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        say(f"\n{name}\n" + "\n".join(line for line in done.stdout.splitlines() if line.strip(" .=")))
        report.goal(f"{name}: failed", float(done.returncode != 0), 0.0)


def second_architecture(report: Report) -> None:
    """Plans of a mixture of experts that was trained on the spot, beside the best uniform format, in the menu or not.

    Where the menu is the limit the plan's document has to say so; elsewhere the plan is not to be worse by two standard errors.
    """
    say("\na small mixture of experts, trained here")
    for found in compare(report.desk.directory / "mixture", say):
        if found.menu_limit is None:
            where = f"mixture, {found.menu}, {found.budget} bits: (plan − {found.uniform}) ÷ its error"
            report.goal(where, found.difference / found.difference_error, 2.0)


SECTIONS = {section.__name__: section for section in (agreement, plans, other_rounding, second_architecture, costs)}


def main() -> None:
    """Print the sections that are named as arguments, or all."""
    asked = sys.argv[1:] or list(SECTIONS)
    unknown = [name for name in asked if name not in SECTIONS]
    if unknown:
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    configure_logs("WARNING")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(os.environ.get("REPORT_DIR") or scratch)
        directory.mkdir(parents=True, exist_ok=True)
        model = Path(os.environ.get("MODEL") or smollm2_path())
        text = os.environ.get("TEXT") or str(source_code(directory))
        texts = {"prose": BUILTIN, Path(text).stem: text}
        report = Report(Desk(model, directory), texts, usual_model=not os.environ.get("MODEL"))
        for name in asked:
            SECTIONS[name](report)
        say()
        say(closing_line(report.goals))


if __name__ == "__main__":
    main()
