"""What became of others' packages: a verdict for each changed file, and the table."""

from __future__ import annotations

import collections
from typing import Any

import torch

RTOL, ATOL = 1e-4, 1e-5  # of the largest element of the tensor, of all gradients of the run


def trial(job: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The verdict on one file: broken, differs, agrees, not run, or not imported before either."""
    made = {"functions": job["functions"], "ran": [], "failures": []}
    if "import" in before:
        return made | {"verdict": "does not import before either", "failures": [before["import"]]}
    if "import" in after:
        return made | {"verdict": "BROKEN IMPORT", "failures": [after["import"]]}
    differences = []
    for label, one in before["runs"].items():
        other = after["runs"].get(label)
        reason = "does not run after" if other is None else _difference(one, other)
        if reason:
            differences.append(f"{label}: {reason}")
    made["ran"] = sorted(set(job["functions"]) - set(before["missing"]))
    made["missing"] = before["missing"]
    made["failures"] = differences + (after["failures"] if differences else before["failures"])
    if differences:
        return made | {"verdict": "DIFFERS"}
    return made | {"verdict": "agrees" if before["runs"] else "not run"}


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    if one["guess"] != other["guess"]:
        return "other arguments are accepted after"
    if len(one["outputs"]) != len(other["outputs"]):
        return "another number of results"
    if one["gradients"].keys() != other["gradients"].keys():
        return "other parameters have gradients"
    pairs = [(f"result {n}", a, other["outputs"][n]) for n, a in enumerate(one["outputs"])]
    pairs += [(f"gradient of {n}", a, other["gradients"][n]) for n, a in one["gradients"].items()]
    # keys' biases: softmax does not see them, so that their gradient is rounding alone
    largest = max((_largest(gradient) for gradient in one["gradients"].values()), default=0.0)
    for what, a, b in pairs:
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{what}: {a.dtype} {tuple(a.shape)} became {b.dtype} {tuple(b.shape)}"
        if not _close(a, b, ATOL * largest):
            return f"{what}: off by {(a.double() - b.double()).abs().max():.2g}"
    return ""


def _close(a: torch.Tensor, b: torch.Tensor, noise: float) -> bool:
    if not a.is_floating_point() or a.numel() == 0:
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=RTOL, atol=RTOL * _largest(a) + noise, equal_nan=True)


def _largest(a: torch.Tensor) -> float:
    """The largest finite magnitude."""
    finite = a.abs()[a.isfinite()]
    return finite.max().item() if finite.numel() and a.is_floating_point() else 0.0


def markdown(result: dict[str, Any]) -> str:
    lines = ["| package | rule | found | rewritten | refused, and why |", "|" + " --- |" * 5]
    for package, rules in result["packages"].items():
        for code, reasons in rules.items():
            total, rewritten = sum(reasons.values()), reasons.get("rewritten", 0)
            why = ", ".join(f"{n} {r}" for r, n in reasons.items() if r != "rewritten") or "–"
            lines.append(f"| {package} | {code} | {total} | {rewritten} | {why} |")
    verdicts = collections.Counter(row["verdict"] for row in result["trials"].values())
    lines += ["", "Changed files: " + ", ".join(f"{n} {v}" for v, n in verdicts.most_common()), ""]
    return "\n".join(lines)
