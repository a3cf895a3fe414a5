"""What was found against what is there: recall and precision by rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .marks import Labels, Spot


@dataclass
class Score:
    """A rule's spots, counted; `extra` are findings where no label asks for one."""

    found: list[Spot] = field(default_factory=list)
    missed: list[Spot] = field(default_factory=list)
    quiet: list[Spot] = field(default_factory=list)
    extra: list[Spot] = field(default_factory=list)
    fooled: list[Spot] = field(default_factory=list)

    @property
    def labelled(self) -> int:
        return len(self.found) + len(self.missed)

    @property
    def lookalikes(self) -> int:
        return len(self.quiet) + len(self.fooled)

    @property
    def false_alarms(self) -> int:
        return len(self.extra) + len(self.fooled)

    @property
    def recall(self) -> float:
        return len(self.found) / self.labelled if self.labelled else 1.0

    @property
    def precision(self) -> float:
        reported = len(self.found) + self.false_alarms
        return len(self.found) / reported if reported else 1.0

    def add(self, other: Score) -> None:
        for name in ("found", "missed", "quiet", "extra", "fooled"):
            getattr(self, name).extend(getattr(other, name))


def score(labels: Iterable[Labels], findings: Iterable[Spot]) -> dict[str, Score]:
    """Scores by code. A line counts once for a code, however often the code is reported there."""
    found = set(findings)
    scores: dict[str, Score] = {}

    def of(spot: Spot) -> Score:
        return scores.setdefault(spot.code, Score())

    decided: set[Spot] = set()
    for label in labels:
        decided |= label.expect | label.silent | label.either
        for spot in label.expect:
            (of(spot).found if spot in found else of(spot).missed).append(spot)
        for spot in label.silent:
            (of(spot).fooled if spot in found else of(spot).quiet).append(spot)
    for spot in found - decided:
        of(spot).extra.append(spot)
    return dict(sorted(scores.items()))


def total(scores: dict[str, Score]) -> Score:
    whole = Score()
    for one in scores.values():
        whole.add(one)
    return whole
