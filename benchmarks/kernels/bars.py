"""Whether a row of the table reaches what ours must reach."""

from __future__ import annotations

from typing import Any

from benchmarks.kernels import stored

LARGE = 512e6
SMALL = 16e6
WITHIN = 0.97
# Shares of the copy's bandwidth that a large call must reach.
FORWARD, BACKWARD, BACKWARD_OF_NORMS = 0.90, 0.85, 0.80
# Families whose rows have a bar of their own or none.
OWN_BARS = ("quantized_linear",)
# Host time over that of torch's own call, without gradients and with.
HOST = {"without": 2.0, "with": 2.5}

Row = dict[str, Any]


def peers(row: Row) -> dict[str, float]:
    """The times of all peers that ran."""
    return {k: v for k, v in row["seconds"].items() if is_peer(k) and isinstance(v, float)}


def is_peer(name: str) -> bool:
    """What has a comma in its name is a figure beside: ours in another form, or a peer's."""
    return name != "ours" and "," not in name


def rate(row: Row) -> float:
    """TB/s or TFLOP/s of ours; 0 where it does not run."""
    ours = row["seconds"]["ours"]
    return row["work"] / ours / 1e12 if isinstance(ours, float) else 0.0


def verdict(row: Row, ceilings: dict[str, float]) -> str:
    """ "met", or what is short; a bar met within 3 % counts as met."""
    ours = row["seconds"]["ours"]
    if not isinstance(ours, float):
        return "does not run"
    if row.get("bar"):
        return _own_bar(row, ours, ceilings)
    if row["family"] in OWN_BARS:
        return "no bar"
    best = min(peers(row).values(), default=None)
    if best is None:
        return "no peer"
    if not row["is_compute"] and row["work"] < SMALL:
        return "met" if ours <= max(1.1 * best, best + 1e-6) else f"{ours / best:.2f}× the best"
    if row["is_compute"] and best <= 100e-6:
        return "host time decides"
    return _against_the_best(row, ours, best, ceilings)


def _own_bar(row: Row, ours: float, ceilings: dict[str, float]) -> str:
    bar, short = row["bar"], []
    peer = row["seconds"].get(bar["peer"])
    if isinstance(peer, float) and peer / ours < bar["times"] * WITHIN:
        short.append(f"{peer / ours:.2f}× {bar['peer']}, {bar['times']:.2g}× wanted")
    if bar["share"] is not None:
        short += _below(rate(row) / ceiling(row, ceilings), bar["share"])
    return ", ".join(short) or "met"


def _against_the_best(row: Row, ours: float, best: float, ceilings: dict[str, float]) -> str:
    short = [] if ours * WITHIN <= best else [f"{best / ours:.0%} of the best"]
    kept = stored.quack(row)
    if kept is not None and ours * WITHIN > kept:
        short.append(f"{kept / ours:.0%} of quack as stored")
    if not row["is_compute"] and row["work"] >= LARGE:
        floor = FORWARD
        if row["mode"] != "forward":
            floor = BACKWARD_OF_NORMS if "norm" in row["operation"] else BACKWARD
        short += _below(rate(row) / ceiling(row, ceilings), floor)
    return ", ".join(short) or "met"


def _below(reached: float, floor: float) -> list[str]:
    return [f"{reached:.0%} of copy, {floor:.0%} wanted"] if reached < floor * WITHIN else []


def ceiling(row: Row, ceilings: dict[str, float]) -> float:
    return ceilings["matmul TFLOP/s" if row["is_compute"] else "copy TB/s"]


def host_verdict(row: Row) -> str:
    most = HOST["without" if "without" in row["call"] else "with"]
    share = row["ours"] / row["torch"]
    return "met" if share * WITHIN <= most else f"{share:.1f}×, {most}× wanted"
