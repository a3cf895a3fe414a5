"""Norms by hand: a value, its mean taken off or not, times the inverse root of its mean square."""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.graph.match import Match, Pattern, first
from cudalint.facts.graph.patterns.norm_parts import (
    LAYER,
    RMS,
    HandNorm,
    centre_of,
    is_centred,
    narrow,
)
from cudalint.facts.graph.patterns.norm_steps import climb, close
from cudalint.facts.graph.values import Graph, Value


def rms_norms(graph: Graph) -> Iterator[HandNorm]:
    """The root-mean-square norms of a graph."""
    return _norms(graph, RMS, False)


def layer_norms(graph: Graph) -> Iterator[HandNorm]:
    """The layer norms of a graph, with a biased variance."""
    return _norms(graph, LAYER, True)


def _norms(graph: Graph, root: Pattern, centred: bool) -> Iterator[HandNorm]:
    for value in graph.of("pow"):
        if value.attrs != (-0.5,) or len(value.operands) != 1:
            continue
        found = first(root, value)
        if found is None or not (_is_layer if centred else _is_norm)(found):
            continue
        norm = HandNorm(value, narrow(found["wide"]), found.get("eps"), centred)
        norm.consumed = {value.id: value for value in found.consumed}
        norm.upcast = found["wide"] is not norm.x
        if climb(graph, norm):
            close(graph, norm)
            yield norm


def _is_norm(found: Match) -> bool:
    """Not of what a mean was taken off (that is a layer norm), and with a plain epsilon."""
    wide, length, eps = found["wide"], found.get("length"), found.get("eps")
    if is_centred(narrow(wide)):
        return False
    return _is_length(length, narrow(wide)) and (eps is None or eps.op not in _TENSORS)


_TENSORS = ("mean", "pow", "matmul", "var", "std", "mul")


def _is_layer(found: Match) -> bool:
    """One mean of one value, taken off where the variance needs it."""
    x, whole, eps = narrow(found["wide"]), found.get("whole"), found.get("eps")
    if whole is not None and narrow(whole) is not x:
        return False
    return _is_length(found.get("length"), x) and (eps is None or eps.op not in _TENSORS)


def _is_length(length: Value | None, x: Value) -> bool:
    """Whether a sum is divided by the length of the last dim of x, as far as it says."""
    if length is None or length.op != "size":
        return True
    inner = narrow(length.operands[0])
    return length.attrs == (-1,) and (inner is x or centre_of(inner) is x)


__all__ = ["HandNorm", "layer_norms", "narrow", "rms_norms"]
