"""`python -m tests.labelled [FOLDER]`: recall and precision by rule over labelled programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .judge import judge
from .score import Score, Spot, total

PROGRAMS = Path(__file__).parent / "programs"
HEAD = ("rule", "labelled", "found", "missed", "look-alikes", "false alarms", "recall", "precision")
ROW = "{:8}{:>9}{:>7}{:>8}{:>13}{:>14}{:>9}{:>11}"


def row(name: str, one: Score) -> str:
    return ROW.format(
        name,
        one.labelled,
        len(one.found),
        len(one.missed),
        one.lookalikes,
        one.false_alarms,
        f"{one.recall:.1%}",
        f"{one.precision:.1%}",
    )


def nearby(spot: Spot, spans: dict[Spot, int]) -> str:
    """Says where the computation was reported instead, if a finding of the code covers the line."""
    for start, end in spans.items():
        if start.path == spot.path and start.code == spot.code and start.line <= spot.line <= end:
            return f"  (reported from line {start.line})"
    return ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.labelled", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=PROGRAMS)
    parser.add_argument("--select", help="only these codes, separated by commas")
    parser.add_argument("--min-recall", type=float, default=0.9, metavar="SHARE")
    parser.add_argument("--min-precision", type=float, default=0.95, metavar="SHARE")
    options = parser.parse_args(arguments)
    verdict = judge(options.folder, options.select.split(",") if options.select else None)
    print(ROW.format(*HEAD))
    for code, one in verdict.scores.items():
        print(row(code, one))
    whole = total(verdict.scores)
    print(row("all", whole))
    for title, spots in (("missed", whole.missed), ("false alarm", whole.fooled + whole.extra)):
        for spot in sorted(spots, key=lambda s: (s.code, s.path, s.line)):
            near = nearby(spot, verdict.spans) if title == "missed" else ""
            print(f"{title}: {spot.code} {spot.path}:{spot.line}{near}")
    if verdict.problems:
        print(verdict.problems, file=sys.stderr)
        return 2
    under = whole.recall < options.min_recall or whole.precision < options.min_precision
    return 1 if under else 0


if __name__ == "__main__":
    sys.exit(main())
