"""What the operators of the own kernel do where it does not run: the same in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention import dropout, reference
from cudalint.kernels._attention.call import LOG2E, Extras, Form
from cudalint.kernels._attention.reference import Options

# What log₂e times stays finite in float32.
LOWEST = -2.3e38


def forward(q: Tensor, k: Tensor, v: Tensor, extras: Extras, form: Form) -> tuple[Tensor, Tensor]:
    """The result, and of each query what the kernel's backward wants."""
    apart, unit = extras.apart(q.dtype), LOG2E if q.dtype.itemsize == 2 else 1.0
    q, k, v = _wide(q, k, v)
    scores = reference.scores(q, k, options_of(extras, form))
    weights, highest, total = reference.weights(scores, extras.sinks)
    nothing = total == 0.0
    if apart:
        finite = highest.clamp(min=LOWEST) * unit
        lse = torch.stack([finite, 1.0 / total.masked_fill(nothing, 1.0)])
        lse[0].masked_fill_(nothing, float("inf"))
    else:
        lse = ((highest + total.log()) * LOG2E).masked_fill(nothing, float("inf"))[None]
    kept = _kept(extras, form, weights)
    return (weights if kept is None else weights * kept) @ v, lse.squeeze(-1)


def backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, extras: Extras, form: Form
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The gradients of q, k, v, of the scores before masks, and of the sinks."""
    groups = q.shape[1] // k.shape[1]
    options = options_of(extras, form)
    q, k, v = _wide(q, k, v)
    dout = dout.to(q.dtype)
    weights, highest, total = reference.weights(reference.scores(q, k, options), extras.sinks)
    kept = _kept(extras, form, weights)
    dweights, dropped = dout @ v.mT, weights
    if kept is not None:
        dweights, dropped = dweights * kept, weights * kept
    delta = (weights * dweights).sum(-1, keepdim=True)
    dscores = weights * (dweights - delta)
    scale = reference.scale_of(q, options)
    dproducts = dscores * scale
    if form.softcap is not None:
        dproducts = dproducts * (1.0 - torch.tanh(q @ k.mT * scale / form.softcap) ** 2)
    dsinks = None
    if extras.sinks is not None:
        weight = torch.exp(extras.sinks.to(q.dtype)[:, None, None] - highest)
        dsinks = -(weight / total.masked_fill(total == 0.0, 1.0) * delta).sum((0, 2, 3))
    dk, dv = dproducts.mT @ q, dropped.mT @ dout
    dk, dv = (t.view(t.shape[0], -1, groups, *t.shape[2:]).sum(2) for t in (dk, dv))
    return dproducts @ k, dk, dv, dscores, dsinks


def _wide(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In the dtype of the sums, and one key head for each query head."""
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    q = q.to(wide)
    return q, reference.repeat_heads(k.to(wide), q), reference.repeat_heads(v.to(wide), q)


def _kept(extras: Extras, form: Form, weights: Tensor) -> Tensor | None:
    """What dropout multiplies each weight with: 0 or 1 / (1 − p)."""
    if extras.seed is None:
        return None
    batch, heads, queries, keys = weights.shape
    kept = dropout.kept(extras.seed, form.dropout_p, (batch, heads, queries, keys))
    return kept.to(weights.dtype) / (1.0 - form.dropout_p)


def options_of(extras: Extras, form: Form) -> Options:
    return Options(
        attn_mask=extras.attn_mask,
        dropout_p=form.dropout_p,
        is_causal=False,
        scale=form.scale,
        enable_gqa=True,
        bias=extras.bias,
        softcap=form.softcap,
        window=(form.left, form.right),
        alibi_slopes=extras.alibi_slopes,
        sinks=extras.sinks,
        causal_align="bottom-right" if form.bottom_right else "top-left",
    )
