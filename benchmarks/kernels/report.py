"""The table for people, and whether each bar of the library is met."""

from __future__ import annotations

from typing import Any

PEERS = ("by hand", "torch", "compile", "Liger", "cuDNN", "flash", "efficient")
LARGE = 512e6
SMALL = 16e6
WITHIN = 0.97
LINEAR = 1.4
# Shares of the copy's bandwidth that a large call must reach.
FORWARD, BACKWARD, BACKWARD_OF_NORMS = 0.90, 0.85, 0.80


def verdict(row: dict[str, Any], copy: float) -> str:
    """ "met", or what is short, by the bars for memory-bound and for native calls."""
    times = {k: v for k, v in row["seconds"].items() if isinstance(v, float)}
    best = min((v for k, v in times.items() if k in PEERS), default=None)
    if best is None:
        return "no peer"
    ours, work = times["ours"], row["work"]
    if row["operation"] == "linear_cross_entropy":  # it trades a fourth product for memory
        share = ours / times["by hand"]
        return "met" if share <= LINEAR else f"{share:.2f}× the pair, {LINEAR} wanted"
    if not row["is_compute"] and work < SMALL:
        return "met" if ours <= max(1.1 * best, best + 1e-6) else f"{ours / best:.2f}× the best"
    if row["is_compute"] and best <= 100e-6:
        return "host time decides"
    short = [] if ours * WITHIN <= best else [f"{best / ours:.0%} of the best"]
    if not row["is_compute"] and work >= LARGE:
        floor = FORWARD
        if row["mode"] != "forward":
            floor = BACKWARD_OF_NORMS if "norm" in row["operation"] else BACKWARD
        reached = work / ours / 1e12 / copy
        if reached < floor * WITHIN:
            short.append(f"{reached:.0%} of copy, {floor:.0%} wanted")
    return ", ".join(short) or "met"


def markdown(result: dict[str, Any]) -> str:
    copy, matmul = (result["ceilings"][k] for k in ("copy TB/s", "matmul TFLOP/s"))
    lines = [
        f"# Kernels on one {result['device']}, {result['date']}",
        "",
        f"`{result['command']}` · torch {result['torch']} · Triton {result['triton']} · Liger "
        f"{result['liger']} · driver {result['driver']}. Medians of three medians; bfloat16; below "
        f"16 MB by CUDA-graph replay. Ceilings of the same run: copy {copy:.2f} TB/s, matrix "
        f"product {matmul:.0f} TFLOP/s. Bytes are counted once for each tensor read or written.",
        "",
    ]
    for operation in dict.fromkeys(row["operation"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["operation"] == operation]
        lines += [f"## {operation}", "", *_table(rows, copy, matmul), ""]
    lines += ["## Host time, 1 KB, µs a call", "", *_host(result["host"]), ""]
    lines += [
        "## Accuracy",
        "",
        "Norm of the worst row's error over that of a typical row, against float64.",
        "",
    ]
    lines += _accuracy(result["accuracy"])
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]], copy: float, matmul: float) -> list[str]:
    peers = [peer for peer in PEERS if any(peer in row["seconds"] for row in rows)]
    unit, ceiling = ("TFLOP/s", matmul) if rows[0]["is_compute"] else ("TB/s", copy)
    head = ["shape", "mode", *peers, "**ours**", unit, "of ceiling", "bar"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        times = row["seconds"]
        rate = row["work"] / times["ours"] / 1e12
        cells = [row["shape"], row["mode"], *(_microseconds(times.get(peer)) for peer in peers)]
        cells += [f"**{_microseconds(times['ours'])}**", f"{rate:.2f}", f"{rate / ceiling:.0%}"]
        lines.append("| " + " | ".join([*cells, verdict(row, copy)]) + " |")
    return lines


def _microseconds(seconds: float | str | None) -> str:
    if seconds is None:
        return "–"
    return "refuses" if isinstance(seconds, str) else f"{seconds * 1e6:.1f} µs"


def _host(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| call | torch | ours | ratio |", "| --- | --- | --- | --- |"]
    for row in rows:
        ratio = row["ours"] / row["torch"]
        lines.append(
            f"| {row['call']} | {row['torch'] * 1e6:.1f} | {row['ours'] * 1e6:.1f} | {ratio:.2f} |"
        )
    return lines


def _accuracy(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| operation | dtype | of | ours | fair | by hand |", "|" + " --- |" * 6]
    for row in rows:
        errors = " | ".join(f"{row[by]:.2e}" for by in ("ours", "fair", "by hand"))
        lines.append(f"| {row['operation']} | {row['dtype']} | {row['of']} | {errors} |")
    return lines
