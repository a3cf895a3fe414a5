"""The results of several runs, each of some operations, as one."""

from __future__ import annotations

from typing import Any

SAME = ("device", "driver", "torch", "triton", "liger")
TABLES = {
    "rows": ("operation", "shape", "mode"),
    "host": ("call",),
    "accuracy": ("operation", "dtype", "of"),
    "failed": ("family", "error"),
}

Result = dict[str, Any]


def merged(results: list[Result], order: list[str]) -> Result:
    """One result, families in `order`; what a later one has too replaces that of the earlier.

    Each row keeps the number of its run, whose ceilings it is held against. Runs of another machine
    or other versions raise ValueError.
    """
    first = results[0]
    for other in results[1:]:
        for name in SAME:
            if other[name] != first[name]:
                raise ValueError(f"{name} is {other[name]} in one run and {first[name]} in another")
    whole: Result = {name: first[name] for name in SAME} | {"runs": []}
    whole["date"] = max(result["date"] for result in results)
    for table, names in TABLES.items():
        whole[table] = _joined(results, table, names, order)
    for result in results:
        whole["runs"] += result["runs"]
    return whole


def _joined(
    results: list[Result], table: str, names: tuple[str, ...], order: list[str]
) -> list[dict[str, Any]]:
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    past = 0
    for result in results:
        again = {name for run in result["runs"] for name in run["seconds"]}
        if table == "failed":  # what has run again since
            kept = {key: row for key, row in kept.items() if row["family"] not in again}
        for row in result[table]:
            kept[tuple(row[name] for name in names)] = row | {"run": row["run"] + past}
        past += len(result["runs"])
    return sorted(kept.values(), key=lambda row: order.index(row["family"]))
