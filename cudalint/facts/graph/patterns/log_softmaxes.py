"""Log-probabilities in several steps: a logarithm of a softmax, and losses made by hand of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.losses import Loss, losses
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import is_const, is_number, number
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.records import field, record

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts

# Views: the numbers stay what they are. The running value is operand 0.
_VIEWS = frozenset(
    {"view", "index", "permute", "transpose", "unsqueeze", "squeeze", "expand", "torch.flatten"}
)


@record(eq=False)
class Found:
    """One computation; `form` is "log", "nll", "one-hot" or "copy".

    `logits` is what the fused function takes, `dim` the dim of the classes. `inexact` says why the
    computation is no log-softmax after all.
    """

    form: str
    result: Value
    logits: Value
    dim: int | None = None
    loss: Loss | None = None
    target: Value | None = None
    reduction: str = "mean"
    promoted: bool = False  # the one-hot classes are float32, and so the loss is
    inexact: str = ""
    used: bool = False
    module: bool = False
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)


def found_in(facts: PythonFacts, graph: Graph) -> Iterator[Found]:
    """Everything in a function, the outermost computation first; none twice."""
    every = [*_likelihoods(facts, graph), *_by_hand(graph)]
    taken = {id for found in every for id in found.consumed}
    every += [found for found in _logarithms(graph) if found.result.id not in taken]
    every += _copies(facts, graph)
    for found in every:
        found.reads, found.used = others(graph, found.result, found.consumed)
        if not found.used or (found.form == "log" and not found.inexact):
            yield found


def _one(dims: object) -> int | None:
    if isinstance(dims, tuple) and len(dims) == 1 and isinstance(dims[0], int):
        return dims[0]
    return None


def _log_softmax(value: Value) -> Found | None:
    """`log_softmax(x)`, or the logarithm of a softmax."""
    if value.op == "log_softmax":
        inner = value
    elif value.op == "log" and value.operands[0].op == "softmax":
        inner = value.operands[0]
    else:
        return None
    made = Found("log", value, inner.operands[0], _one(inner.attrs[0]))
    made.consumed = {value.id: value, inner.id: inner}
    made.module = inner.module
    return made


def _logarithms(graph: Graph) -> Iterator[Found]:
    for value in graph.of("log"):
        below, inexact = value.operands[0], ""
        made = _log_softmax(value)
        if made is None and below.op in ("add", "clamp"):
            parts = [part for part in below.operands if not _is_small(part)]
            inexact = "something is added to the probabilities"
            if len(parts) == 1 and parts[0].op == "softmax":
                inner = parts[0]
                made = Found("log", value, inner.operands[0], _one(inner.attrs[0]))
                made.consumed = {v.id: v for v in (value, below, inner)}
        if made is not None:
            made.inexact = inexact if below.op != "softmax" else ""
            yield made


def _is_small(value: Value) -> bool:
    if is_number(value):
        return abs(number(value)) <= 1e-2
    named = value.op in ("self", "input", "attr", "global") and "eps" in str(value.attrs[0]).lower()
    return named or value.op == "finfo" or is_const(value, None)


def _likelihoods(facts: PythonFacts, graph: Graph) -> Iterator[Found]:
    """`nll_loss(log_softmax(x, dim), target)`: the loss takes the classes in dim 1."""
    for loss in losses(facts, graph):
        inner = _log_softmax(loss.logits) if loss.kind == "nll_loss" else None
        if inner is None or not _is_second(inner.dim, inner.logits.rank):
            continue
        consumed = {v.id: v for v in loss.consumed} | inner.consumed
        module = loss.module or inner.module
        made = Found("nll", loss.value, inner.logits, inner.dim, loss, loss.target, module=module)
        made.consumed = consumed
        yield made


def _is_second(dim: int | None, rank: int | None) -> bool:
    """Whether a dim is the second of the logits, as far as anybody can tell."""
    if dim == 1:
        return True
    return dim is not None and (
        (rank is None and dim == -1) or (rank is not None and dim + rank == 1)
    )


def _by_hand(graph: Graph) -> Iterator[Found]:
    """`-(one_hot(target) * log_softmax(x)).sum(-1).mean()`."""
    for total in graph.of("sum"):
        factors, inner = _factors(total.operands[0])
        logs = [made for made in map(_log_softmax, factors) if made is not None]
        hots = [hot for hot in factors if _bare(hot).op == "torch.one_hot"]
        signs = [factor for factor in factors if is_const(factor, -1)]
        if len(logs) != 1 or len(hots) != 1 or len(factors) != 2 + len(signs):
            continue
        if total.attrs[1] or total.attrs[0] != (-1,) or logs[0].dim != -1:
            continue
        hot = _bare(hots[0])
        made = Found("one-hot", total, logs[0].logits, -1, target=hot.operands[0], reduction="none")
        made.module = logs[0].module
        made.promoted = hots[0].op == "cast" and hots[0].attrs == ("float32",)
        if hots[0].op == "cast" and not made.promoted and not _casts_to(hots[0], made.logits):
            continue
        values = (total, *inner, hots[0], hot)
        made.consumed = {v.id: v for v in values} | logs[0].consumed
        if _climb(graph, made, len(signs)):
            yield made


def _casts_to(cast: Value, logits: Value) -> bool:
    """`one_hot(…).to(x.dtype)`."""
    return len(cast.operands) == 2 and cast.operands[1].operands == (logits,)


def _factors(value: Value) -> tuple[list[Value], list[Value]]:
    """The factors of a product in any nesting, and the products."""
    if value.op != "mul":
        return [value], []
    found, inner = [], [value]
    for operand in value.operands:
        parts, within = _factors(operand)
        found += parts
        inner += within
    return found, inner


def _bare(value: Value) -> Value:
    return value.operands[0] if value.op == "cast" else value


def _climb(graph: Graph, made: Found, signs: int) -> bool:
    """Follow the sum up through its sign and its mean; whether it is a loss in the end."""
    while True:
        uses = graph.uses(made.result)
        user = uses[0].user if len(uses) == 1 else None
        if user is None:
            break
        if user.op == "mul" and any(is_const(part, -1) for part in user.operands):
            signs += 1
        elif user.op == "mean" and user.attrs[0] is None and made.reduction == "none":
            made.reduction = "mean"
        else:
            break
        made.result = user
        made.consumed[user.id] = user
    return signs % 2 == 1


def _copies(facts: PythonFacts, graph: Graph) -> Iterator[Found]:
    """`cross_entropy(logits.float(), …)` of two dims: what is cast is written once more, wider."""
    for loss in losses(facts, graph):
        if loss.kind != "cross_entropy" or not loss.of_rows:
            continue
        value, passed = loss.logits, []
        while value.op in _VIEWS:
            passed.append(value)
            value = value.operands[0]
        if value.op != "cast" or value.attrs != ("float32",) or value.node is None:
            continue
        if any(_has_few(view) for view in (*passed, value.operands[0])):
            continue
        made = Found("copy", loss.value, value, -1, loss, loss.target, module=loss.module)
        made.consumed = {v.id: v for v in (*loss.consumed, *passed, value)}
        yield made


def _has_few(view: Value) -> bool:
    """Whether it has so few classes that a copy of them is nothing: `view(-1, 2)`."""
    last = view.operands[-1] if view.op == "view" else None
    return last is not None and is_number(last) and 0 < number(last) < 256
