"""The measured models as Markdown."""

from __future__ import annotations

from typing import Any

# An expert's rewrite of the GPT-2 is 3.2 and 5.5 times as fast as plain float32: 95 % of that.
BARS = {("gpt2", "tf32"): 3.1, ("gpt2", "bf16"): 5.2}
COLUMNS = ("before", "tf32", "bf16")


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# Models written by hand, before and after the tool alone, {result['date']}",
        "",
        f"`{result['command']}` · {result['device']} · torch {result['torch']} · Triton "
        f"{result['triton']}. `tf32` is `cudalint fix --unsafe-fixes`, `bf16` the same with "
        '`precision-policy = "bf16"`; no edit by hand. Medians of single steps between CUDA '
        "events; the peak is that of the step; in brackets how many times as fast as the same mode "
        "before.",
        "",
    ]
    for name in dict.fromkeys(row["model"] for row in result["rows"]):
        rows = {row["column"]: row for row in result["rows"] if row["model"] == name}
        lines += [f"## {name}", "", _sizes(rows["before"]), "", *_table(name, rows), ""]
        lines += _left(rows)
    return "\n".join(lines)


def difference(one: list[float], other: list[float]) -> float:
    """The largest relative difference of two loss curves."""
    return max((abs(a - b) / abs(a) for a, b in zip(one, other, strict=True)), default=0.0)


def _sizes(row: dict[str, Any]) -> str:
    given = {k: v for k, v in row["arguments"].items() if k not in ("seed", "device", "steps")}
    return " · ".join(f"{key} {value}" for key, value in given.items())


def _table(name: str, rows: dict[str, Any]) -> list[str]:
    lines = ["| | before | tf32 | bf16 |", "| --- | --- | --- | --- |"]
    for mode in ("eager", "compiled"):
        if rows["before"][mode] is None:
            continue
        for what in ("step", "forward"):
            lines.append(_line(f"{what}, {mode}", rows, mode, what))
        lines.append(_line(f"peak, {mode}", rows, mode, "peak"))
    steps = len(rows["before"]["losses"])
    curve = [_curve(rows["before"]["losses"], rows[column]["losses"]) for column in COLUMNS]
    lines.append(f"| loss over {steps} steps | {' | '.join(curve)} |")
    if rows["before"]["arguments"]["device"] == "cuda":
        lines.append(f"| bar | – | {' | '.join(_bar(name, c, rows) for c in COLUMNS[1:])} |")
    return lines


def _line(title: str, rows: dict[str, Any], mode: str, what: str) -> str:
    base = rows["before"][mode].get(what)
    cells = []
    for column in COLUMNS:
        value = rows[column][mode].get(what)
        if value is None:
            cells.append(rows[column][mode]["error"])
        elif what == "peak":
            cells.append(f"{value:.1f} GiB")
        else:
            ratio = f" ({base / value:.2f}×)" if base and column != "before" else ""
            cells.append(f"{value:.1f} ms{ratio}")
    return f"| {title} | {' | '.join(cells)} |"


def _curve(base: list[float], losses: list[float]) -> str:
    if not losses:
        return "failed"
    ends = f"{losses[0]:.3f} → {losses[-1]:.3f}"
    return ends if losses is base else f"{ends}, within {difference(base, losses):.2%}"


def _bar(name: str, column: str, rows: dict[str, Any]) -> str:
    bar = BARS.get((name, column))
    times = [rows[at]["eager"].get("step") for at in ("before", column)]
    if bar is None or None in times:
        return "–"
    reached = times[0] / times[1]
    return f"{bar}× wanted, {reached:.2f}× reached: {'met' if reached >= bar else 'not met'}"


def _left(rows: dict[str, Any]) -> list[str]:
    left = [row for column in COLUMNS[1:] for row in rows[column]["remaining"]]
    if not left:
        return []
    return ["Left by the tool:", "", *(f"- `{row}`" for row in dict.fromkeys(left)), ""]
