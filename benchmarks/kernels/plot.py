"""The table as a picture: ours beside the best peer, as shares of the ceiling. Needs matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.kernels import bars, report

# One font a text instead of ten, or their names are half of the file.
matplotlib.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "kernels", "font.sans-serif": ["DejaVu Sans"]}
)
OURS, PEER, LINE = "#1f5fbf", "#d9822b", "#9aa0a6"
# Inches: of a row, of what stands over and under the rows of a panel, of a column and its labels.
ROW, OVER, UNDER, COLUMN, LABELS = 0.19, 0.32, 0.22, 6.0, 2.4
HEAD = 0.75

Result = dict[str, Any]
Row = dict[str, Any]


def draw(result: Result, file: Path) -> None:
    """One panel for each operation, in two columns."""
    panels = [
        [row for row in result["rows"] if row["operation"] == operation]
        for operation in dict.fromkeys(row["operation"] for row in result["rows"])
    ]
    columns = _columns(panels)
    height = HEAD + max(sum(map(_height, column)) for column in columns)
    figure = pyplot.figure(figsize=(COLUMN * len(columns), height))
    for index, column in enumerate(columns):
        top = height - HEAD
        for rows in column:
            top -= _height(rows)
            _panel(_axes(figure, index, len(columns), top, rows, height), rows, result)
    _head(figure, result, height)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _columns(panels: list[list[Row]]) -> list[list[list[Row]]]:
    """Two columns, in order, about as high as each other."""
    half = sum(map(_height, panels)) / 2
    first: list[list[Row]] = []
    for panel in panels:
        if sum(map(_height, first)) + _height(panel) / 2 > half:
            break
        first.append(panel)
    rest = panels[len(first) :]
    return [first, rest] if rest else [first]


def _height(rows: list[Row]) -> float:
    return OVER + ROW * len(rows) + UNDER


def _axes(
    figure: Figure, column: int, columns: int, top: float, rows: list[Row], height: float
) -> Axes:
    width = COLUMN * columns
    left, across = (COLUMN * column + LABELS) / width, (COLUMN - LABELS - 0.3) / width
    return figure.add_axes((left, (top + UNDER) / height, across, ROW * len(rows) / height))


def _panel(axes: Axes, rows: list[Row], result: Result) -> None:
    places = range(len(rows))
    ours = [100 * report.share(row, result) for row in rows]
    peers = [mine * _times(row) for mine, row in zip(ours, rows, strict=True)]
    axes.hlines(places, 0, 112, color="#eceff1", linewidth=0.8, zorder=0)
    axes.hlines(places, peers, ours, color=LINE, linewidth=1.2, zorder=1)
    axes.plot(peers, places, "o", color="white", markeredgecolor=PEER, markersize=5.5)
    axes.plot(ours, places, "o", color=OURS, markersize=5)
    axes.axvline(100, color="#444444", linewidth=1, linestyle="--", zorder=0)
    axes.set_xlim(0, 112)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(places, [_label(row) for row in rows], fontsize=7.5)
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"], fontsize=7)
    axes.tick_params(length=0)
    axes.set_title(rows[0]["operation"], loc="left", fontsize=9.5, fontweight="bold", pad=4)
    for side in axes.spines.values():
        side.set_visible(False)


def _times(row: Row) -> float:
    """How many times as fast as ours the best peer is; NaN, which is not drawn, where none is."""
    ours, best = row["seconds"]["ours"], min(bars.peers(row).values(), default=math.nan)
    return ours / best if isinstance(ours, float) else math.nan


def _label(row: Row) -> str:
    mode = {"forward": "", "forward+backward": " f+b"}.get(row["mode"], f" {row['mode']}")
    return f"{row['shape']}{mode}"


def _head(figure: Figure, result: Result, height: float) -> None:
    handles = [
        pyplot.Line2D([], [], marker="o", linestyle="", color=OURS, label="ours"),
        pyplot.Line2D([], [], marker="o", linestyle="", color="white", markeredgecolor=PEER,
                      label="best peer of the run"),
        pyplot.Line2D([], [], color="#444444", linestyle="--",
                      label="ceiling of the run: copy, or bfloat16 matrix product"),
    ]  # fmt: skip
    figure.text(
        0.02, 1 - 0.28 / height, f"cudalint.kernels on one {result['device']}, share of the ceiling",
        fontsize=12, fontweight="bold",
    )  # fmt: skip
    note = (
        f"torch {result['torch']}, Triton {result['triton']}, {result['date']}; f+b: with backward"
    )
    figure.text(0.02, 1 - 0.5 / height, note, fontsize=8, color="#555555")
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.99, 1 - 0.12 / height), fontsize=8,
        frameon=False, ncols=3,
    )  # fmt: skip
