"""What a GPU runs for attention: which kernels, with which blocks. Operands are (B, H, L, D)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._attention import backward_kernels
from cudalint.kernels._attention.bias_kernel import bias_backward
from cudalint.kernels._attention.blocks import LEAST, WIDEST_OF_BOTH, Blocks, blocks
from cudalint.kernels._attention.call import (
    empty_like,
    empty_result,
    near_rows,
)
from cudalint.kernels._attention.forward_kernel import forward as forward_kernel
from cudalint.kernels._attention.operands import (
    Operands,
    is_exact,
    numbers,
    operands,
    plane,
    scale,
    strides,
    switches,
)
from cudalint.kernels._blocks import next_power_of_two, remembered
from cudalint.kernels._launch import Launcher, Prepared

__all__ = ["backward", "forward", "operands"]

_forward = Launcher(forward_kernel)
_prepare = Launcher(backward_kernels.prepare)
_keys = Launcher(backward_kernels.keys_backward)
_queries = Launcher(backward_kernels.queries_backward)
_bias = Launcher(bias_backward)

_known: dict[tuple[object, ...], Prepared] = {}


def forward(x: Operands) -> tuple[Tensor, Tensor]:
    """The result, and what the backward wants of each query: see the kernel."""
    q, v = x.q, x.v
    out = empty_result(q, v)
    planes = 2 if x.extras.apart(q.dtype) else 1
    lse = torch.empty((planes, *q.shape[:3]), dtype=torch.float32, device=q.device)
    key = ("forward", x.layout, out.stride())
    tensors = (*x.pointers, _or(x.extras.sinks, q), _or(x.extras.seed, q), out, lse)
    prepared = _known.get(key)
    if prepared is None:
        tile = _tile("forward", x)
        prepared = remembered(_known)[key] = _forward.prepare(
            -(-q.shape[2] // tile.i) * q.shape[0] * q.shape[1],
            tensors,
            (*strides(x), *out.stride()[:3], plane(q), *numbers(x)),
            (*switches(x, sinks=True), *_sizes(x, tile)),
            tile.warps,
            tile.stages,
        )
    prepared(*tensors)
    return out, lse


class Gradients(NamedTuple):
    """dq, dk, dv, dbias, dsinks; None what was not asked for."""

    dq: Tensor | None
    dk: Tensor | None
    dv: Tensor | None
    dbias: Tensor | None
    dsinks: Tensor | None


def backward(
    dout: Tensor, x: Operands, out: Tensor, lse: Tensor, wanted: tuple[bool, bool, bool, bool],
    bias: Tensor | None,
) -> Gradients:  # fmt: skip
    """`wanted`: the gradients of query, of key and value, of the bias, of the sinks."""
    dout = near_rows(dout)
    delta, dsinks = _prepared_sums(dout, x, out, lse, wanted[3])
    sums = (_or(x.extras.seed, x.q), dout, lse, delta)
    dq = dk = dv = dbias = None
    if is_exact(x) and any(wanted[:3]):
        _launch_queries(x, sums, None)
    if wanted[1]:
        dk, dv = _keys_backward(x, sums)
    if wanted[0]:
        dq = empty_like(x.q)
        _launch_queries(x, sums, dq)
    if wanted[2] and bias is not None:
        dbias = _bias_backward(x, sums, bias)
    return Gradients(dq, dk, dv, dbias, dsinks)


def _prepared_sums(
    dout: Tensor, x: Operands, out: Tensor, lse: Tensor, sinks_grad: bool
) -> tuple[Tensor, Tensor | None]:
    q, sinks = x.q, x.extras.sinks
    width = max(next_power_of_two(out.shape[-1]), LEAST)
    rows = LEAST if q.get_device() < 0 else max(8192 // width, LEAST)
    grid = -(-q.shape[2] // rows) * q.shape[0] * q.shape[1]
    planes = 2 if is_exact(x) else 1
    delta = torch.empty((planes, *q.shape[:3]), dtype=torch.float32, device=q.device)
    parts = delta
    if sinks_grad:
        parts = torch.empty((q.shape[0], q.shape[1], grid // (q.shape[0] * q.shape[1])),
                            dtype=torch.float32, device=q.device)  # fmt: skip
    tensors = (out, dout, lse, _or(sinks, q), delta, parts)
    key = ("prepare", x.layout, out.stride(), dout.stride(), sinks_grad)
    prepared = _known.get(key)
    if prepared is None:
        prepared = remembered(_known)[key] = _prepare.prepare(
            grid,
            tensors,
            (q.shape[1], q.shape[2], *out.stride()[:3], *dout.stride()[:3], plane(q)),
            (
                out.shape[-1],
                x.extras.apart(q.dtype),
                q.dtype == torch.float32,
                sinks_grad,
                rows,
                width,
            ),
            4,
        )
    prepared(*tensors)
    if not sinks_grad or sinks is None:
        return delta, None
    return delta, parts.sum((0, 2)).to(sinks.dtype)


def _keys_backward(x: Operands, sums: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    dk, dv = empty_like(x.k), empty_like(x.v)
    if max(x.k.shape[-1], x.v.shape[-1]) <= WIDEST_OF_BOTH:
        _launch_keys("keys", x, (*sums, dk, dv), (True, True))
    else:
        _launch_keys("keys", x, (*sums, dk, dv), (True, False))
        _launch_keys("values", x, (*sums, dk, dv), (False, True))
    return dk, dv


def _launch_keys(
    kernel: str, x: Operands, results: tuple[Tensor, ...], grads: tuple[bool, bool]
) -> None:
    """`results`: the seed, dout, the sums of each query, dk and dv."""
    k, dout, (dk, dv) = x.k, results[1], results[-2:]
    key = (kernel, x.layout, dout.stride(), dk.stride(), dv.stride())
    tensors = (*x.pointers, *results)
    prepared = _known.get(key)
    if prepared is None:
        tile = _tile(kernel, x)
        prepared = remembered(_known)[key] = _keys.prepare(
            -(-k.shape[2] // tile.j) * k.shape[0] * k.shape[1],
            tensors,
            (
                *strides(x), *dout.stride()[:3], *dk.stride()[:3], *dv.stride()[:3],
                plane(x.q), *numbers(x), scale(x),
            ),
            (*switches(x), *grads, *_sizes(x, tile)),
            tile.warps,
            tile.stages,
        )  # fmt: skip
    prepared(*tensors)


def _launch_queries(x: Operands, sums: tuple[Tensor, ...], dq: Tensor | None) -> None:
    """Without `dq` the rest of delta."""
    q, result = x.q, _or(dq, x.q)
    key = ("queries", x.layout, sums[1].stride(), result.stride(), dq is None)
    tensors = (*x.pointers, *sums, _or(x.extras.sinks, q), result)
    prepared = _known.get(key)
    if prepared is None:
        tile = _tile("queries", x)
        prepared = remembered(_known)[key] = _queries.prepare(
            -(-q.shape[2] // tile.i) * q.shape[0] * q.shape[1],
            tensors,
            (
                *strides(x), *sums[1].stride()[:3], *result.stride()[:3], plane(q), *numbers(x),
                scale(x),
            ),
            (*switches(x), x.extras.sinks is not None, dq is not None, *_sizes(x, tile)),
            tile.warps,
            tile.stages,
        )  # fmt: skip
    prepared(*tensors)


def _bias_backward(x: Operands, sums: tuple[Tensor, ...], bias: Tensor) -> Tensor:
    """Of `bias` as it came: over dimensions of 1 the kernel sums, over tiles of them torch."""
    q, k, tile = x.q, x.k, _tile("bias", x)
    whole = bias.view((1,) * (4 - bias.dim()) + bias.shape)
    batches, heads, rows, cols = whole.shape
    counts = -(-q.shape[2] // tile.i), -(-k.shape[2] // tile.j)
    full = (rows == q.shape[2], cols == k.shape[2])
    sizes = [
        n if kept else count for n, kept, count in zip((rows, cols), full, counts, strict=True)
    ]
    dtype = bias.dtype if all(full) else torch.float32
    dbias = torch.empty((batches, heads, *sizes), dtype=dtype, device=q.device)
    tensors = (*x.pointers, *sums, dbias)
    _bias.prepare(
        counts[0] * counts[1] * batches * heads,
        tensors,
        (
            *strides(x), *sums[1].stride()[:3], heads, q.shape[0] // batches, q.shape[1] // heads,
            *dbias.stride(), plane(q), *numbers(x),
        ),
        (*switches(x), *full, *_sizes(x, tile)),
        tile.warps,
        tile.stages,
    )(*tensors)  # fmt: skip
    if not all(full):
        dims = tuple(d for d, kept in zip((2, 3), full, strict=True) if not kept)
        dbias = dbias.sum(dims, keepdim=True).to(bias.dtype)
    return dbias.view(bias.shape)


def _or(tensor: Tensor | None, otherwise: Tensor) -> Tensor:
    return otherwise if tensor is None else tensor


def _tile(kernel: str, x: Operands) -> Blocks:
    widest = max(x.q.shape[-1], x.v.shape[-1])
    scored = x.extras.bias is not None or x.extras.attn_mask is not None
    return blocks(x.q.get_device(), kernel, widest, x.q.element_size(), x.q.shape[2], scored)


def _sizes(x: Operands, tile: Blocks) -> tuple[int, ...]:
    widths = (max(next_power_of_two(t.shape[-1]), LEAST) for t in (x.q, x.v))
    return tile.i, tile.j, *widths
