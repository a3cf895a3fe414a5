"""How large an error may be: at most twice that of a fair computation in the same dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Errors:
    """Errors against the reference in float64, each as a share of what is allowed."""

    worst_row: float
    worst_element: float

    @property
    def allowed(self) -> bool:
        return self.worst_row <= 1.0 and self.worst_element <= 1.0


def measure(ours: Tensor, fair: Tensor, exact: Tensor, factor: float = 2.0) -> Errors:
    """E(ours) / (factor · E(fair) + floor), for the row norm and for single elements.

    E(fair) is that of the worst row, and of the worst element; the floor is 2 · eps(dtype) ·
    the largest magnitude of the row. Where `exact` or `fair` is not
    finite, `ours` must be the same infinity or NaN.
    """
    assert ours.dtype == fair.dtype, (ours.dtype, fair.dtype)
    assert ours.shape == exact.shape, (ours.shape, exact.shape)
    exact, eps = exact.double(), torch.finfo(ours.dtype).eps
    ours, fair = ours.double(), fair.double()
    finite = exact.isfinite() & fair.isfinite()
    same = (ours == fair) | (ours.isnan() & fair.isnan())
    if not bool((finite | same).all()):
        return Errors(float("inf"), float("inf"))
    ours, fair, exact = (_rows(t.where(finite, torch.zeros_like(t))) for t in (ours, fair, exact))
    if not exact.numel():
        return Errors(0.0, 0.0)
    floor = 2 * eps * exact.abs().amax(-1) + 1e-30
    row = (ours - exact).norm(dim=-1) / (factor * (fair - exact).norm(dim=-1).max() + floor)
    most = (fair - exact).abs().max()
    element = (ours - exact).abs().amax(-1) / (factor * most + floor)
    return Errors(_number(row), _number(element))


def _rows(t: Tensor) -> Tensor:
    return t.reshape(-1, t.shape[-1]) if t.dim() else t.reshape(1, 1)


def _number(shares: Tensor) -> float:
    """The worst share; NaN, which no comparison would catch, is worse than any."""
    worst = shares.max()
    return float("inf") if bool(worst.isnan()) else float(worst)


def assert_allowed(ours: Tensor, fair: Tensor, exact: Tensor, factor: float = 2.0) -> None:
    errors = measure(ours, fair, exact, factor)
    assert errors.allowed, errors


def assert_all_allowed(
    runs: list[list[tuple[Tensor, Tensor, Tensor]]], factor: float = 2.0
) -> None:
    """The law for each result over several draws together.

    E(fair) of a few numbers is a draw of luck: `runs` holds (ours, fair, exact) of each result of
    each draw, and the draws' rows are put one under another.
    """
    for results in zip(*runs, strict=True):
        ours, fair, exact = (torch.cat([_rows(t) for t in ts]) for ts in zip(*results, strict=True))
        assert_allowed(ours, fair, exact, factor)


def draws(rows: int, cols: int) -> range:
    """The seeds of as many draws as make 4,096 numbers, 32 at most."""
    return range(max(1, min(32, 4096 // max(rows * cols, 1))))
