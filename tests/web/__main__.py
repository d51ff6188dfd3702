"""``python -m tests.web``: the browser tests, how fast the studio's slider is, and the pages of a large model; ``make web-test``.

The last line begins ``ok:`` or ``short:`` and holds the figures.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.benchmarks.goals import Goal, closing_line
from tests.web import large_pages, slider


def say(*text: object) -> None:
    """A line, at once."""
    print(*text, flush=True)  # noqa: T201  (a report is printed)


def browser_tests() -> Goal:
    """Run them all; how many of them did not pass. A machine without a browser fails."""
    with tempfile.TemporaryDirectory(prefix="bitplan-web-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "tests/web", f"--junit-xml={report}"]
        subprocess.run(command, env=os.environ | {"BITPLAN_BROWSER": "required"}, check=False)
        suites = ElementTree.parse(report).getroot().iter("testsuite")  # noqa: S314  (our own)
        counts = [{name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")} for suite in suites]
    total = sum(count["tests"] for count in counts)
    passed = total - sum(count["failures"] + count["errors"] + count["skipped"] for count in counts)
    return Goal(f"browser tests that passed, of {total},", passed, total, at_least=True)


def main() -> None:
    """Run all three and say how it went."""
    tests = browser_tests()
    usual, large = slider.measure()
    for name, found in (("224 layers × 8 formats", usual), ("44,544 layers of experts × 8 formats", large)):
        half, most, last = (found.percentile(share) for share in (50, 95, 100))
        say(
            f"{name}: {found.tiles} tiles; release to picture p50 {half:.0f} ms, p95 {most:.0f} ms, slowest {last:.0f} ms of "
            f"{len(found.releases)}; arrow key let go to picture p95 {found.late_keys:.0f} ms of {len(found.keys)}, "
            f"{found.redraws:.0f} redraws and {found.asked:.0f} questions a second while it is held; "
            f"page: first paint {found.first_paint:.0f} ms, first plan {found.first_picture:.0f} ms"
        )
    pages = large_pages.measure()
    say(
        "44,544 layers, first and second visit: "
        + "; ".join(f"{name} {one.first:.0f}, {one.second:.0f} ms" for name, one in pages.items())
    )
    say(closing_line([tests, *slider.goals(usual, large), *large_pages.goals(pages)]))


if __name__ == "__main__":
    main()
