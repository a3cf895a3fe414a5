"""A new run held against a stored one: what has become slower."""

from __future__ import annotations

from typing import Any

MOST = 1.05


def losses(new: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """A line for each row of both runs where ours takes over 5 % longer now, or no longer runs.

    Times of two machines say nothing of each other: another device raises ValueError.
    """
    if new["device"] != stored["device"]:
        raise ValueError(
            f"the stored run is of a {stored['device']}, this one of a {new['device']}"
        )
    before = _ours(stored)
    lines = []
    for name, now in _ours(new).items():
        then = before.get(name)
        if not isinstance(then, float):
            continue
        if not isinstance(now, float):
            lines.append(f"{name}: {now}; stored {then * 1e6:.1f} µs")
        elif now > MOST * then:
            lines.append(
                f"{name}: {now * 1e6:.1f} µs, {now / then:.2f}× the {then * 1e6:.1f} µs stored"
            )
    return lines


def _ours(run: dict[str, Any]) -> dict[str, float | str]:
    names = ("operation", "shape", "mode")
    return {" ".join(row[n] for n in names): row["seconds"]["ours"] for row in run["rows"]}
