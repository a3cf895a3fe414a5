"""The marks in labelled programs: what a line must report, must not report, or may report.

`# expect: CUS001` stands where a finding's span starts, `# silent: CUS001 why` on a look-alike,
and `# either: CUP002 why` where the catalogue decides neither way; CUDA sources write `//`.
Several codes are separated by commas, and a line may carry several marks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

KINDS = ("expect", "silent", "either")
CODES = r"CU[A-Z]\d{3}(?:\s*,\s*CU[A-Z]\d{3})*"
MARK = re.compile(rf"(?:#|//)\s*(?P<kind>{'|'.join(KINDS)}):\s*(?P<codes>{CODES})")
TRAILER = re.compile(rf"[ \t]*(?:#|//)[ \t]*(?:{'|'.join(KINDS)}):[ \t]*CU[A-Z]\d{{3}}[^\r\n]*")
ALMOST = re.compile(rf"(?:#|//)\s*(?:{'|'.join(KINDS)})\s*:?\s*CU", re.IGNORECASE)


class Spot(NamedTuple):
    """One code on one line (counted from 1) of one program."""

    path: str
    line: int
    code: str


class Labels(NamedTuple):
    """What a person read in a program, by kind of mark."""

    expect: frozenset[Spot]
    silent: frozenset[Spot]
    either: frozenset[Spot]


def read(path: str, text: str) -> Labels:
    """The labels of a program; a mark that is almost one is an error, never ignored."""
    spots: dict[str, set[Spot]] = {kind: set() for kind in KINDS}
    for number, line in enumerate(text.splitlines(), start=1):
        found = list(MARK.finditer(line))
        if len(found) != len(ALMOST.findall(line)):
            raise ValueError(f"{path}:{number}: a mark that cannot be read: {line.strip()}")
        for mark in found:
            for code in re.split(r"\s*,\s*", mark["codes"]):
                spots[mark["kind"]].add(Spot(path, number, code))
    labels = Labels(*(frozenset(spots[kind]) for kind in KINDS))
    if twice := (labels.expect & labels.silent) | (labels.either & (labels.expect | labels.silent)):
        raise ValueError(f"labelled in two ways: {sorted(twice)}")
    return labels


def strip(text: str) -> str:
    """The program as its author wrote it: marks and the blanks before them gone, lines kept."""
    return TRAILER.sub("", text)
