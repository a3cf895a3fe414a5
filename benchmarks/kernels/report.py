"""The tables for people."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.kernels import bars, stored

PEERS = ("by hand", "torch", "compile", "Liger", "cuDNN", "flash", "efficient", "flex")
# The published figure to pass: a vectorized CUDA RMSNorm on an H100, over these shapes.
PUBLISHED = ("1×1024×2048", "2×1024×2048", "4×1024×2048", "2×4096×3072", "4×4096×3072")
PUBLISHED_TIMES, PUBLISHED_SHARE = 2.67, 0.38

Result = dict[str, Any]
Row = dict[str, Any]


def markdown(result: Result, picture: str | None = None) -> str:
    """`picture`: the name of the plot, in the same folder."""
    lines = [f"# Kernels on one {result['device']}, {result['date']}", "", *_head(result), ""]
    lines += [*_summary(result), ""]
    if picture is not None:
        lines += [f"![Ours and the best peer, as shares of the ceiling]({picture})", ""]
    for operation in dict.fromkeys(row["operation"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["operation"] == operation]
        lines += [f"## {operation}", "", *_operation(rows, result), ""]
    for title, section in (
        ("The published RMSNorm figure", _published(result)),
        ("Host time, 1 KB, µs a call", _host(result["host"])),
        ("Accuracy", _accuracy(result["accuracy"])),
    ):
        if section:
            lines += [f"## {title}", "", *section, ""]
    return "\n".join(lines)


def _head(result: Result) -> list[str]:
    lines = [
        f"torch {result['torch']} · Triton {result['triton']} · Liger {result['liger']} · driver "
        f"{result['driver']}. Medians of three medians; bfloat16; below 16 MB by CUDA-graph replay; "
        "linear layers with integer weights, and their peers, by replay through copies of the weight "
        "that together are four times the cache. "
        "Bytes are counted once for each tensor read or written. A bar met within 3 % is met. Calls are "
        "timed as a program makes them (calls); where the host is busy for over 70 % of the time of "
        "anybody's call, all of the row are timed by replays of a graph of one call (graph), and what "
        "calls take stands beside. host: of one call, with the GPU idle; in brackets the least of the "
        "peers'. †: cannot be captured, timed as calls.",
        "",
        "| run | command | date | copy | matrix product |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, run in enumerate(result["runs"], 1):
        copy, product = (run["ceilings"][k] for k in ("copy TB/s", "matmul TFLOP/s"))
        lines.append(
            f"| {number} | `{run['command']}` | {run['date']} | {copy:.2f} TB/s | "
            f"{product:.0f} TFLOP/s |"
        )
    for failure in result["failed"]:
        lines += ["", f"**{failure['family']} did not run: {failure['error']}**"]
    return lines


def _summary(result: Result) -> list[str]:
    """How many bars are met, and each that is not."""
    missed = [(row, v) for row in result["rows"] if (v := _verdict(row, result)) not in _NOT_MISSED]
    judged = [row for row in result["rows"] if _verdict(row, result) not in _NOT_MISSED[1:]]
    lines = ["## Bars", "", f"{len(judged) - len(missed)} of {len(judged)} are met. Missed:", ""]
    lines += [f"- {row['operation']} {row['shape']} {row['mode']}: {v}" for row, v in missed]
    hosts = [(row, v) for row in result["host"] if (v := bars.host_verdict(row)) != "met"]
    return lines + [f"- host time of {row['call']}: {v}" for row, v in hosts]


_NOT_MISSED = ("met", "no peer", "no bar", "host time decides")


def _verdict(row: Row, result: Result) -> str:
    return bars.verdict(row, ceilings_of(row, result))


def ceilings_of(row: Row, result: Result) -> dict[str, float]:
    found: dict[str, float] = result["runs"][row["run"]]["ceilings"]
    return found


def share(row: Row, result: Result) -> float:
    """Of the ceiling of the row's own run."""
    return bars.rate(row) / bars.ceiling(row, ceilings_of(row, result))


def _operation(rows: list[Row], result: Result) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    peers = sorted(filter(bars.is_peer, names), key=_place)
    beside = [name for name in names if not bars.is_peer(name) and name != "ours"]
    kept = ["quack, stored"] if any(stored.quack(row) for row in rows) else []
    unit = "TFLOP/s" if rows[0]["is_compute"] else "TB/s"
    with_host = any(row.get("host") for row in rows)
    lines = _header(
        ["shape", "mode", *peers, *kept, *beside, "**ours**", unit, "of ceiling", "bar"]
        + (["timed", "host", "as calls"] if with_host else [])
    )
    for row in rows:
        times = row["seconds"]
        cells = [row["shape"], row["mode"], *(_time(row, name) for name in peers)]
        cells += [_microseconds(stored.quack(row)) for _ in kept]
        cells += [_time(row, name) for name in beside]
        cells += [f"**{_microseconds(times['ours'])}**", f"{bars.rate(row):.2f}"]
        cells += [f"{share(row, result):.0%}", _verdict(row, result)]
        if with_host:
            cells += [row.get("timed", "calls"), *(_beside(row.get(k)) for k in ("host", "calls"))]
        lines.append(_line(cells))
    return lines


def _time(row: Row, name: str) -> str:
    time = _microseconds(row["seconds"].get(name))
    return f"{time} †" if name in row.get("not_captured", ()) else time


def _beside(seconds: dict[str, Any] | None) -> str:
    """Ours, and the least of the peers'."""
    found = {n: s for n, s in (seconds or {}).items() if isinstance(s, float)}
    if "ours" not in found:
        return "–"
    least = min((s for n, s in found.items() if bars.is_peer(n)), default=None)
    beside = "" if least is None else f" ({least * 1e6:.1f})"
    return f"{found['ours'] * 1e6:.1f}{beside} µs"


def _place(peer: str) -> int:
    return PEERS.index(peer) if peer in PEERS else len(PEERS)


def _header(names: list[str]) -> list[str]:
    return [_line(names), "|" + " --- |" * len(names)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _microseconds(seconds: float | str | None) -> str:
    if seconds is None:
        return "–"
    return "refuses" if isinstance(seconds, str) else f"{seconds * 1e6:.1f} µs"


def _published(result: Result) -> list[str]:
    rows = [
        row
        for shape in PUBLISHED
        for row in result["rows"]
        if (row["operation"], row["shape"], row["mode"]) == ("rms_norm", shape, "forward")
    ]
    if len(rows) < len(PUBLISHED):
        return []
    times = [row["seconds"]["by hand"] / row["seconds"]["ours"] for row in rows]
    shares = [share(row, result) for row in rows]
    lines = [
        f"A vectorized CUDA RMSNorm on an H100: {PUBLISHED_TIMES}× eager on average, and "
        f"{PUBLISHED_SHARE:.0%} of the bandwidth. Ours over the same shapes, eager being the form by "
        f"hand in bfloat16: {sum(times) / len(times):.2f}×, {sum(shares) / len(shares):.0%}.",
        "",
        *_header(["shape", "eager", "ours", "times", "of copy"]),
    ]
    for row, times_, share_ in zip(rows, times, shares, strict=True):
        eager, ours = (_microseconds(row["seconds"][name]) for name in ("by hand", "ours"))
        lines.append(_line([row["shape"], eager, ours, f"{times_:.2f}×", f"{share_:.0%}"]))
    return lines


def _host(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = _header(["call", "torch", "ours", "ratio", "bar"])
    for row in rows:
        cells = [row["call"], f"{row['torch'] * 1e6:.1f}", f"{row['ours'] * 1e6:.1f}"]
        lines.append(_line([*cells, f"{row['ours'] / row['torch']:.2f}", bars.host_verdict(row)]))
    return lines


def _accuracy(rows: list[Row]) -> list[str]:
    """A line for each operation and dtype; the worst of its gradients."""
    if not rows:
        return []
    lines = [
        "Norm of the worst row's error over that of a typical row, against float64: ours, and in "
        "brackets the fair computation's and the form by hand's. `of allowed`: the worst error, by "
        "rows and by elements, over what the error law allows; over 1 breaks it.",
        "",
        *_header(["operation", "dtype", "outputs", "gradients, the worst", "of allowed", "run"]),
    ]
    for name, dtype in dict.fromkeys((row["operation"], row["dtype"]) for row in rows):
        of = [row for row in rows if (row["operation"], row["dtype"]) == (name, dtype)]
        outputs = [row for row in of if row["of"].startswith("output")]
        gradients = [row for row in of if row not in outputs]
        worst = max(row["of allowed"] for row in of)
        allowed = f"{worst:.2f}" if worst <= 1 else f"**{worst:.2f}**"
        run = str(1 + max(row["run"] for row in of))
        lines.append(_line([name, dtype, _worst(outputs), _worst(gradients), allowed, run]))
    return lines


def _worst(rows: list[Row]) -> str:
    if not rows:
        return "–"
    row = max(rows, key=lambda row: row["of allowed"])
    beside = ", ".join(_error(row[by]) for by in ("fair", "by hand"))
    return f"{_error(row['ours'])} ({beside})"


def _error(error: float) -> str:
    return f"{error:.1e}" if math.isfinite(error) else "not finite"
