"""Errors against float64 by the error law: ours, a fair computation, and the form by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.kernels.error_law import measure

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

Function = Callable[..., Any]


class Comparison(NamedTuple):
    """What is compared on random operands of `shapes`; each function gives a tensor or several.

    The reference `fair` takes float32 and is rounded at the end; or with `rounds` the operands as
    they are, where the formula rounds on its way. `factor` is the law's for the gradients; there
    are none `forward_only`.
    """

    ours: Function
    fair: Function
    by_hand: Function
    shapes: list[tuple[int, ...]]
    rounds: bool = False
    factor: float = 2.0
    forward_only: bool = False


def rows(family: str, comparisons: dict[str, Comparison], device: str) -> Iterator[dict[str, Any]]:
    """Of each result and gradient the worst row's error over a typical row's norm, and the share
    of what the law allows, by rows and by elements."""
    for name, comparison in comparisons.items():
        for dtype in DTYPES:
            operands = [torch.randn(s, device=device).to(dtype) for s in comparison.shapes]
            where = {"family": family, "operation": name, "dtype": str(dtype).split(".")[-1]}
            for errors in _errors(comparison, operands):
                yield where | errors | {"run": 0}


def _errors(c: Comparison, operands: list[Tensor]) -> Iterator[dict[str, Any]]:
    like = _results(c.ours(*operands))
    dys = [torch.randn_like(y) for y in like]
    exact = _run(c, c.fair, [t.double() for t in operands], dys)
    near = _run(c, c.fair, operands if c.rounds else [t.float() for t in operands], dys)
    ours, by_hand = _run(c, c.ours, operands, dys), _run(c, c.by_hand, operands, dys)
    for i, (result, truth) in enumerate(zip(ours, exact, strict=True)):
        is_output = i < len(like)
        fair = near[i].to(result.dtype)
        law = measure(result, fair, truth, 2.0 if is_output else c.factor)
        found = {"ours": result, "fair": fair, "by hand": by_hand[i]}
        yield (
            {"of": _name(i, len(like))}
            | {k: _worst(v, truth) for k, v in found.items()}
            | {"of allowed": max(law.worst_row, law.worst_element)}
        )


def _name(i: int, outputs: int) -> str:
    if i >= outputs:
        return f"d{i - outputs + 1}"
    return "output" if i == 0 else f"output {i + 1}"


def _run(c: Comparison, function: Function, operands: list[Tensor], dys: list[Tensor]) -> list[Any]:
    leaves = [t.detach().requires_grad_(not c.forward_only) for t in operands]
    ys = _results(function(*leaves))
    results = [y.detach() for y in ys]
    if c.forward_only:
        return results
    towards = [dy.to(y.dtype) for dy, y in zip(dys, ys, strict=True)]
    return results + list(torch.autograd.grad(ys, leaves, towards))


def _results(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _worst(result: Tensor, truth: Tensor) -> float:
    """The norm of the worst row's error over the norm of a typical row."""
    error = (result.double() - truth).norm(dim=-1)
    return float(error.max() / truth.norm(dim=-1).median())
