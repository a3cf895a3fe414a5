"""What the tests share: where tensors live, how they are drawn, and what agreement means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def drawn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers that require a gradient, the same on every device."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(DEVICE, dtype).requires_grad_()


def agree(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor, loose: float = 4.0
) -> None:
    """Results and gradients are close, as their dtypes go; `theirs` computes in float32."""
    wide = [x.detach().float().requires_grad_(x.requires_grad) for x in inputs]
    result, expected = ours(*inputs), theirs(*wide)
    eps = max(loose * torch.finfo(result.dtype).eps, 1e-5)
    torch.testing.assert_close(result, expected.to(result.dtype), rtol=eps, atol=eps)
    push = torch.randn_like(expected)
    leaves = [x for x in inputs if x.requires_grad]
    if not leaves:
        return
    grads = torch.autograd.grad(result, leaves, push.to(result.dtype))
    wanted = torch.autograd.grad(expected, [x for x in wide if x.requires_grad], push)
    for grad, other in zip(grads, wanted, strict=True):
        step = 4 * max(eps, loose * torch.finfo(grad.dtype).eps)
        atol = step * max(float(other.abs().max()), 1.0)
        torch.testing.assert_close(grad.float(), other, rtol=step, atol=atol)
