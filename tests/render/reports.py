"""Reports made by hand: a small program and findings of every kind in it."""

from __future__ import annotations

from cudalint.model import Diagnostic, Edit, Fix, Safety, Severity, Source, Span
from cudalint.render import View
from cudalint.report import FileResult, Report

CWD = "/src"
PLAIN = View(CWD)

PROGRAM = """\
import math
import torch


def forward(q, k, v):
    scores = q @ k.transpose(-2, -1)
    weights = scores.softmax(-1)
    return weights @ v


for step, batch in enumerate(loader):
    total += loss.item()
"""


def span(text: str, first: str, last: str | None = None) -> Span:
    """From the start of `first` to the end of `last`, in bytes."""
    start = text.index(first)
    end = text.index(last, start) + len(last) if last else start + len(first)
    return Span(len(text[:start].encode()), len(text[:end].encode()))


def edit(text: str, old: str, new: str) -> Edit:
    return Edit(span(text, old), new.encode())


def diagnostic(
    text: str,
    where: Span,
    message: str = "`loss.item()` waits every step",
    *,
    code: str = "CUS001",
    name: str = "item-in-step-loop",
    severity: Severity = "warning",
    fix: Fix | None = None,
) -> Diagnostic:
    source = Source("a.py", text.encode())
    start, end = source.position(where.start), source.position(where.end)
    return Diagnostic(code, name, severity, where, message, fix, start, end, start.row)


def one(found: Diagnostic, text: str = PROGRAM, path: str = f"{CWD}/a.py") -> Report:
    return Report(1, (FileResult(path, text.encode(), (found,)),))


def item(fix: Fix | None = None, severity: Severity = "warning") -> Diagnostic:
    return diagnostic(PROGRAM, span(PROGRAM, "loss.item()"), fix=fix, severity=severity)


def replaced(safety: Safety = "safe") -> Fix:
    return Fix(safety, "Keep the tensor", (edit(PROGRAM, "loss.item()", "loss.detach()"),))


def attention() -> Diagnostic:
    """A finding over three lines whose fix also touches the imports."""
    edits = (
        edit(PROGRAM, "import math\n", ""),
        edit(PROGRAM, "import torch\n", "import torch\nfrom cudalint.kernels import attention\n"),
        Edit(span(PROGRAM, "scores =", "weights @ v"), b"return attention(q, k, v)"),
    )
    return diagnostic(
        PROGRAM,
        span(PROGRAM, "scores =", "weights @ v"),
        "the scores go through memory",
        code="CUF001",
        name="unfused-attention",
        severity="error",
        fix=Fix("unsafe", "Replace with `attention`", edits),
    )
