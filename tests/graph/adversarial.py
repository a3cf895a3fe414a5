"""Functions that look like attention and must not be rewritten, each for a reason of its own.

`refused` is a part of the reason that the fix gives; None where there is no finding at all.
"""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple

HEADER = """\
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

"""


class Adversary(NamedTuple):
    name: str
    refused: str | None
    source: str


def _adversary(name: str, refused: str | None, source: str) -> Adversary:
    return Adversary(name, refused, HEADER + dedent(source))


ADVERSARIES = (
    _adversary(
        "alias written in between",
        "`k` is not at hand",
        """
        def attend(q, k, v):
            same = k
            scores = q @ k.transpose(-2, -1)
            same.mul_(0.5)
            weights = scores.softmax(-1)
            return weights @ v
        """,
    ),
    _adversary(
        "key written in between",
        "`k` is not at hand",
        """
        def attend(q, k, v):
            scores = q @ k.transpose(-2, -1)
            k.zero_()
            weights = scores.softmax(-1)
            return weights @ v
        """,
    ),
    _adversary(
        "written through a view of the key",
        "`k` is not at hand",
        """
        def attend(q, k, v):
            scores = q @ k.transpose(-2, -1)
            first = k[:, 0]
            first.fill_(0.0)
            weights = scores.softmax(-1)
            return weights @ v
        """,
    ),
    _adversary(
        "phi of shapes",
        "both arms of a branch",
        """
        def attend(q, k, v, cosine: bool):
            if cosine:
                scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            else:
                scores = q @ k.transpose(-2, -1) / 8.0
            weights = scores.softmax(-1)
            return weights @ v
        """,
    ),
    _adversary(
        "self reassigned elsewhere",
        None,
        """
        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.act = nn.Softmax(dim=-1)

            def use_relu(self):
                self.act = nn.ReLU()

            def forward(self, q, k, v):
                softmax_or_relu = self.act(q @ k.transpose(-2, -1))
                return softmax_or_relu @ v
        """,
    ),
    _adversary(
        "setattr on the module",
        None,
        """
        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.softmax = nn.Softmax(dim=-1)

            def replace(self, name, module):
                setattr(self, name, module)

            def forward(self, q, k, v):
                return self.softmax(q @ k.transpose(-2, -1)) @ v
        """,
    ),
    _adversary(
        "dropout twice",
        "dropout is applied twice",
        """
        def attend(q, k, v, training: bool):
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            weights = F.dropout(weights, 0.1, training)
            weights = F.dropout(weights, 0.1, training)
            return weights @ v
        """,
    ),
    _adversary(
        "mask mutated after use",
        "is not at hand",
        """
        def attend(q, k, v, mask):
            scores = (q @ k.transpose(-2, -1)).masked_fill(mask, float("-inf"))
            mask.logical_not_()
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "weights caught by a hook",
        None,
        """
        def attend(q, k, v, store):
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            weights.register_hook(store)
            return weights @ v
        """,
    ),
    _adversary(
        "weights kept on self",
        None,
        """
        class Attention(nn.Module):
            def forward(self, q, k, v):
                weights = (q @ k.transpose(-2, -1)).softmax(-1)
                self.last = weights
                return weights @ v
        """,
    ),
    _adversary(
        "weights caught by a closure",
        None,
        """
        def attend(q, k, v):
            weights = (q @ k.transpose(-2, -1)).softmax(-1)

            def entropy():
                return -(weights * weights.log()).sum(-1)

            return weights @ v, entropy
        """,
    ),
    _adversary(
        "softmax over the queries",
        None,
        """
        def attend(q, k, v):
            scores = torch.einsum("bhid,bhjd->bhij", q, k)
            weights = scores.softmax(dim=-2)
            return torch.einsum("bhij,bhjd->bhid", weights, v)
        """,
    ),
    _adversary(
        "heads mixed on the way",
        "change their layout",
        """
        def attend(q, k, v):
            scores = torch.einsum("bhid,bhjd->bhij", q, k)
            weights = scores.softmax(dim=-1).permute(1, 0, 2, 3)
            return weights @ v
        """,
    ),
    _adversary(
        "scale after the bias",
        "the bias is added before the scale",
        """
        def attend(q, k, v, bias):
            scores = (q @ k.transpose(-2, -1) + bias) * 0.125
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "scale that may be a matrix",
        "more than a number",
        """
        def attend(q, k, v, decay):
            scores = q @ k.transpose(-2, -1) * decay
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "fill that hides nothing",
        "minus infinity",
        """
        def attend(q, k, v, mask):
            scores = (q @ k.transpose(-2, -1)).masked_fill(mask, 0.0)
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "operand computed before a random draw",
        "after other statements",
        """
        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.to_q = nn.Linear(8, 8)

            def forward(self, x, k, v):
                scores = self.to_q(x) @ k.transpose(-2, -1)
                noise = torch.randn_like(x)
                return scores.softmax(-1) @ v, noise
        """,
    ),
    _adversary(
        "operand computed by code that is not seen",
        "not at hand",
        """
        def attend(to_q, k, v, x):
            scores = to_q(x) @ k.transpose(-2, -1)
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "loop between the products",
        None,
        """
        def attend(q, k, v, steps):
            scores = q @ k.transpose(-2, -1)
            for _ in range(steps):
                scores = scores - scores.mean()
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "arm that would be left empty",
        "left empty",
        """
        def attend(q, k, v, mask, log):
            scores = q @ k.transpose(-2, -1)
            if mask is not None:
                scores = scores + mask
            else:
                log("no mask")
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "scores read again for their shape",
        "read again",
        """
        def attend(q, k, v):
            scores = q @ k.transpose(-2, -1)
            rows = scores.size(-2)
            return scores.softmax(-1) @ v, rows
        """,
    ),
    _adversary(
        "argument changed in place for the caller",
        "changed in place",
        """
        def attend(scores, q, k, v):
            torch.matmul(q, k.transpose(-2, -1), out=scores)
            weights = scores.softmax(-1)
            return weights @ v
        """,
    ),
    _adversary(
        "statement that binds twice",
        "binds more than one name",
        """
        def attend(q, k, v):
            scores = kept = q @ k.transpose(-2, -1)
            return scores.softmax(-1) @ v
        """,
    ),
    _adversary(
        "product under another context",
        "another block",
        """
        def attend(q, k, v):
            with torch.autocast("cuda", enabled=False):
                scores = q.float() @ k.float().transpose(-2, -1)
            return scores.softmax(-1).to(v.dtype) @ v
        """,
    ),
    _adversary(
        "names rebound by exec",
        "too dynamic",
        """
        def attend(q, k, v, code):
            scores = q @ k.transpose(-2, -1)
            exec(code)
            return scores.softmax(-1) @ v
        """,
    ),
)
