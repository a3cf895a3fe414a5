"""Rewrites of CUF007, CUF008 and CUF009 under adversaries: what is rewritten computes the same.

Each program defines `run(x, y)`. It is executed before and after all fixes, outputs and gradients
compared; `stays` names what must still stand in the rewritten text.
"""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple

import pytest

from tests.harness.linting import fixed, found

torch = pytest.importorskip("torch")

CODES = ("CUF007", "CUF008", "CUF009")
HEADER = """\
import math
import torch
import torch.nn.functional as F
from torch import nn

COS, SIN = torch.cos(torch.arange(24.0)).view(3, 8), torch.sin(torch.arange(24.0)).view(3, 8)
LOG = []


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


"""


class Program(NamedTuple):
    name: str
    source: str
    stays: tuple[str, ...] = ()
    goes: tuple[str, ...] = ()


def _program(
    name: str, source: str, stays: tuple[str, ...] = (), goes: tuple[str, ...] = ()
) -> Program:
    return Program(name, HEADER + dedent(source).lstrip(), stays, goes)


PROGRAMS = [
    _program(
        "the first result is read before the second",
        """
        def run(x, y):
            cos, sin = COS, SIN
            q = x * cos + rotate_half(x) * sin
            y = y + q.mean()
            k = y * cos + rotate_half(y) * sin
            return q, k
        """,
        goes=("rope(x, cos, sin)", "rope(y, cos, sin)"),
        stays=("y = y + q.mean()",),
    ),
    _program(
        "the first tensor is changed in between",
        """
        def run(x, y):
            cos, sin = COS, SIN
            x = x * 1.0
            q = x * cos + rotate_half(x) * sin
            x.mul_(2)
            k = y * cos + rotate_half(y) * sin
            return q, k, x
        """,
        stays=("q = x * cos + rotate_half(x) * sin",),
    ),
    _program(
        "the first name is bound again in between",
        """
        def run(x, y):
            cos, sin = COS, SIN
            q = x * cos + rotate_half(x) * sin
            first, q = q, y
            k = y * cos + rotate_half(y) * sin
            return first, q, k
        """,
        stays=("first, q = q, y",),
    ),
    _program(
        "a loop that reads the last turn's result",
        """
        def run(x, y):
            cos, sin, q, total = COS, SIN, x, 0
            for _ in range(3):
                total = total + q
                q = x * cos + rotate_half(x) * sin
                k = y * cos + rotate_half(y) * sin
            return q, k, total
        """,
        stays=("total = total + q",),
    ),
    _program(
        "tables that change between query and key",
        """
        def run(x, y):
            cos, sin = COS, SIN
            q = x * cos + rotate_half(x) * sin
            cos, sin = cos * 2, sin * 2
            k = y * cos + rotate_half(y) * sin
            return q, k
        """,
        goes=("rope(x, cos, sin)", "rope(y, cos, sin)"),
    ),
    _program(
        "a helper that remembers",
        """
        class Turner(nn.Module):
            def rotate(self, x):
                self.last = x.detach().sum()
                x1, x2 = x.chunk(2, dim=-1)
                return torch.cat((-x2, x1), dim=-1)

            def forward(self, x, cos, sin):
                return x * cos + self.rotate(x) * sin

        def run(x, y):
            turner = Turner()
            return turner(x, COS, SIN), turner.last
        """,
        stays=("self.rotate(x)",),
    ),
    _program(
        "a helper that says so",
        """
        def speaking(x):
            print("cos and sin")
            x1, x2 = x.chunk(2, dim=-1)
            return torch.cat((-x2, x1), dim=-1)

        def turn(x, cos, sin):
            return x * cos + speaking(x) * sin

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("speaking(x) * sin",),
    ),
    _program(
        "a helper with two definitions",
        """
        if math.pi > 3:
            def twist(x):
                x1, x2 = x.chunk(2, dim=-1)
                return torch.cat((-x2, x1), dim=-1)
        else:
            def twist(x):
                return x

        def turn(x, cos, sin):
            return x * cos + twist(x) * sin

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("x * cos + twist(x) * sin",),
    ),
    _program(
        "three results in one tuple",
        """
        def turn(x, y, cos, sin):
            return x * cos + rotate_half(x) * sin, y * cos + rotate_half(y) * sin, x

        def run(x, y):
            return turn(x, y, COS, SIN)
        """,
        goes=("rope(x, cos, sin), rope(y, cos, sin), x",),
    ),
    _program(
        "halves that are used again",
        """
        def turn(x, cos, sin):
            x1, x2 = x.chunk(2, dim=-1)
            turned = x * cos + torch.cat((-x2, x1), dim=-1) * sin
            return turned + torch.cat((x2, x1), dim=-1)

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("x1, x2 = x.chunk(2, dim=-1)",),
        goes=("turned = rope(x, cos, sin)",),
    ),
    _program(
        "unequal parts of a partial rotation",
        """
        def turn(x, cos, sin):
            front, rest = x[..., :4], x[..., 5:]
            front = front * cos[..., :4] + rotate_half(front) * sin[..., :4]
            return torch.cat((front, rest), dim=-1)

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("x[..., 5:]",),
        goes=("rope(front, cos[..., :4], sin[..., :4])",),
    ),
    _program(
        "the rest of another tensor",
        """
        def turn(x, y, cos, sin):
            front, rest = x[..., :4], y[..., 4:]
            front = front * cos[..., :4] + rotate_half(front) * sin[..., :4]
            return torch.cat((front, rest), dim=-1)

        def run(x, y):
            return turn(x, y, COS, SIN)
        """,
        stays=("y[..., 4:]",),
        goes=("front = rope(front, cos[..., :4], sin[..., :4])",),
    ),
    _program(
        "the rest in front",
        """
        def turn(x, cos, sin):
            front, rest = x[..., :4], x[..., 4:]
            front = front * cos[..., :4] + rotate_half(front) * sin[..., :4]
            return torch.cat((rest, front), dim=-1)

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("rest",),
    ),
    _program(
        "memory that is seen elsewhere",
        """
        def turn(x, cos, sin):
            x1, x2 = x[..., ::2], x[..., 1::2]
            out = torch.zeros_like(x)
            LOG.append(out)
            out[..., 0::2] = x1 * cos[..., :4] - x2 * sin[..., :4]
            out[..., 1::2] = x1 * sin[..., :4] + x2 * cos[..., :4]
            return out

        def run(x, y):
            return turn(x, COS, SIN), LOG[-1]
        """,
        stays=("LOG.append(out)", "out[..., 1::2] ="),
    ),
    _program(
        "a half that is written twice",
        """
        def turn(x, cos, sin):
            x1, x2 = x[..., ::2], x[..., 1::2]
            out = torch.zeros_like(x)
            out[..., 0::2] = x1 * cos[..., :4] - x2 * sin[..., :4]
            out[..., 0::2] = x1
            out[..., 1::2] = x1 * sin[..., :4] + x2 * cos[..., :4]
            return out

        def run(x, y):
            return turn(x, COS, SIN)
        """,
        stays=("out[..., 0::2] = x1\n",),
    ),
    _program(
        "tables that are counted, the sines first",
        """
        def counted(table):
            LOG.append(1)
            return table * len(LOG)

        def turn(x):
            cos, sin = COS, SIN
            return rotate_half(x) * counted(sin) + x * counted(cos)

        def run(x, y):
            LOG.clear()
            return turn(x)
        """,
        stays=("rotate_half(x) * counted(sin)",),
    ),
    _program(
        "gate and up of one chunk, the gate changed",
        """
        def run(x, y):
            gate, up = x.chunk(2, dim=-1)
            gate = gate + 1
            return F.silu(gate) * up
        """,
        goes=("swiglu(gate, up)",),
    ),
    _program(
        "halves of two chunks",
        """
        def run(x, y):
            gate, _ = x.chunk(2, dim=-1)
            _, up = y.chunk(2, dim=-1)
            return F.gelu(gate) * up
        """,
        goes=("geglu(gate, up)",),
    ),
    _program(
        "the same half twice",
        """
        def run(x, y):
            a, b = x.chunk(2, dim=-1)
            return F.silu(a) * a + b
        """,
    ),
    _program(
        "three parts",
        """
        def run(x, y):
            a, b, c = x[..., :6].chunk(3, dim=-1)
            return F.silu(a) * b + c
        """,
        goes=("swiglu(a, b)",),
    ),
    _program(
        "random draws in both operands",
        """
        def noisy(x):
            return x + torch.randn(x.shape)

        def run(x, y):
            torch.manual_seed(1)
            return noisy(y) * F.silu(noisy(x))
        """,
        goes=("swiglu(up=noisy(y), gate=noisy(x))",),
    ),
    _program(
        "a draw between gate and product",
        """
        def run(x, y):
            torch.manual_seed(1)
            gate = F.silu(x + torch.randn(x.shape))
            noise = torch.randn(x.shape)
            return gate * (y + noise)
        """,
        stays=("gate = F.silu(",),
    ),
    _program(
        "a half that is changed in place",
        """
        def run(x, y):
            x = x * 1.0
            gate, up = x[..., :4], x[..., 4:]
            up.add_(1)
            return F.silu(gate) * up + x.sum()
        """,
        stays=("up.add_(1)",),
    ),
    _program(
        "the packed tensor is bound again",
        """
        def run(x, y):
            gate, up = x.chunk(2, dim=-1)
            x = y
            return F.silu(gate) * up + x.mean()
        """,
        stays=("x = y",),
    ),
    _program(
        "a closure keeps a half",
        """
        def run(x, y):
            gate, up = x.chunk(2, dim=-1)
            late = lambda: up.sum()
            return F.silu(gate) * up + late()
        """,
        stays=("gate, up = x.chunk",),
    ),
    _program(
        "what a rebound name held is still read",
        """
        def run(x, y):
            h = x + y
            up = y * 2
            h = F.silu(h)
            return h * up
        """,
        stays=("h = x + y",),
        goes=("swiglu(h, up)",),
    ),
    _program(
        "the product of an activation with itself",
        """
        def run(x, y):
            gate = F.silu(x)
            return gate * gate
        """,
        stays=("gate * gate",),
    ),
    _program(
        "the argument is bound again",
        """
        def run(x, y):
            gate = torch.sigmoid(x)
            x = x + 1
            return x * gate
        """,
        stays=("x * gate",),
    ),
    _program(
        "the argument is changed in place",
        """
        def run(x, y):
            x = (x * 1.0).detach()
            inner = 0.7978845608 * (x + 0.044715 * x**3)
            x.add_(1)
            return y + 0.5 * x * (1 + torch.tanh(inner))
        """,
        stays=("torch.tanh(inner)",),
    ),
    _program(
        "old and new argument",
        """
        def run(x, y):
            h = x + y
            old = h
            h = torch.sigmoid(h)
            return old * h
        """,
        goes=("F.silu(old)",),
    ),
    _program(
        "erf with the tanh form's constant",
        """
        def run(x, y):
            return 0.5 * x * (1 + torch.erf(0.7978845608 * (x + 0.044715 * x**3)))
        """,
        stays=("torch.erf(",),
    ),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_rewritten_programs_compute_the_same(program: Program) -> None:
    after = fixed(program.source, CODES).source.text.decode()
    for text in program.stays:
        assert text in after, after[len(HEADER) :]
    for text in program.goes:
        assert text in after, after[len(HEADER) :]
    one, other = (_run(text, program.name) for text in (program.source, after))
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def _run(source: str, name: str) -> list[object]:
    """The tensors that `run` gives, and the gradients of its two arguments."""
    space: dict[str, object] = {}
    exec(compile(source, name, "exec"), space)
    torch.manual_seed(0)
    given = [torch.randn(2, 3, 8, requires_grad=True) for _ in range(2)]
    run = space["run"]
    assert callable(run)
    made = run(*given)
    outs = [made] if torch.is_tensor(made) else list(made)
    weights = torch.Generator().manual_seed(2)
    loss = sum((out * torch.randn(out.shape, generator=weights)).sum() for out in outs)
    loss.backward()  # type: ignore[union-attr]
    grads = [leaf.grad if leaf.grad is not None else torch.zeros(1) for leaf in given]
    return [*(out.detach() for out in outs), *grads]


SWIGLU = """import torch.nn.functional as F
import torch


def f(gate, up):
    return F.silu(gate) * up


def turn(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin
"""


@pytest.mark.parametrize("code", ["CUF008", "CUF009"])
def test_torch_has_none_and_a_compiler_needs_none(code: str) -> None:
    assert found(SWIGLU, (code,))
    assert fixed(SWIGLU, (code,), config='kernel-source = "torch"').source.text.decode() == SWIGLU
    assert found(SWIGLU, (code,), config='kernel-source = "torch"')
    assert not found(SWIGLU, (code,), config="assume-compiled = true")
