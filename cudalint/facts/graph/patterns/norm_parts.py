"""The parts of norms by hand: mean squares, variances, and what a mean was taken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cudalint.facts.graph.match import either, first, op, product, through, var
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Use, Value
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

Cast = Literal["llama", "late", "none"]


def _over_last(value: Value) -> bool:
    return value.attrs[0] == (-1,) and value.attrs[1] is True


def _over_last_dropped(value: Value) -> bool:
    return value.attrs[0] == (-1,) and value.attrs[1] is False


def _biased(value: Value) -> bool:
    return value.attrs[2] is False and _over_last(value)


def _biased_dropped(value: Value) -> bool:
    return value.attrs[2] is False and _over_last_dropped(value)


def _minus(value: Value) -> bool:
    return is_const(value, -1)


_CASTS = frozenset({"cast"})
_LENGTH = op("pow", var("length", lambda v: v.op in ("size", "self", "number")), attrs=(-1,))
_SQUARE = op("pow", var("wide"), attrs=(2,))
_MEAN_SQUARE = either(
    op("mean", _SQUARE, attrs=_over_last),
    op("unsqueeze", op("mean", _SQUARE, attrs=_over_last_dropped), attrs=(-1,)),
    product(op("sum", _SQUARE, attrs=_over_last), _LENGTH),
)
_MEAN = either(
    op("mean", var("whole"), attrs=_over_last, as_="mean"),
    op("unsqueeze", op("mean", var("whole"), attrs=_over_last_dropped), attrs=(-1,), as_="mean"),
)
_WIDE_MEAN = through(_CASTS, _MEAN)
_CENTRE = op("add", var("wide"), op("mul", _WIDE_MEAN, var("minus", _minus)))
_DEVIATION = op("pow", _CENTRE, attrs=(2,))
_VARIANCE = either(
    op("var", _CENTRE, attrs=_biased),
    op("var", var("wide"), attrs=_biased),
    op("unsqueeze", op("var", var("wide"), attrs=_biased_dropped), attrs=(-1,)),
    op("mean", _DEVIATION, attrs=_over_last),
    op("unsqueeze", op("mean", _DEVIATION, attrs=_over_last_dropped), attrs=(-1,)),
    product(op("sum", _DEVIATION, attrs=_over_last), _LENGTH),
    op(
        "add",
        op("mean", _SQUARE, attrs=_over_last),
        op("mul", op("pow", _WIDE_MEAN, attrs=(2,)), var("minus", _minus)),
    ),
)


RMS = either(
    op("pow", op("add", through(_CASTS, _MEAN_SQUARE), var("eps")), attrs=(-0.5,)),
    op("pow", through(_CASTS, _MEAN_SQUARE), attrs=(-0.5,)),
)
LAYER = either(
    op("pow", op("add", through(_CASTS, _VARIANCE), var("eps")), attrs=(-0.5,)),
    op("pow", through(_CASTS, _VARIANCE), attrs=(-0.5,)),
)


@record(eq=False)
class HandNorm:
    """One norm: `result` is the last value that the fused function computes as well.

    `centred`: a layer norm, whose mean is taken off.
    """

    result: Value
    x: Value
    eps: Value | None
    centred: bool = False
    weight: Value | None = None
    bias: Value | None = None
    offset: float = 0.0
    cast: Cast = "none"
    optional: tuple[Value, bool] | None = None  # the weight is applied where the test is so
    upcast: bool = False
    back: Value | None = None  # the cast of the result
    rounded: bool = False  # cast before the weight, which makes it llama's order
    weight_cast: bool = False  # the weight is cast before it is applied
    typed: bool = False  # cast to the weight's dtype where that is half, as T5 does
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False  # an intermediate value is used elsewhere

    def first(self, function: Node) -> Node | None:
        nodes = [
            v.node for v in self.consumed.values() if v.node is not None and v.body == function
        ]
        return min(nodes, key=lambda node: node.start_byte, default=None)

    def takes(self, factor: Value) -> bool:
        """Whether a factor is what the inverse root is to be multiplied with."""
        if not self.centred:
            return narrow(factor) is self.x
        return centre_of(narrow(factor)) is self.x


def centre_of(value: Value) -> Value | None:
    """The x of `x - x.mean(-1, keepdim=True)`, casts left out."""
    found = first(_CENTRE, value)
    if found is None or narrow(found["whole"]) is not narrow(found["wide"]):
        return None
    return narrow(found["wide"])


def centre_parts(value: Value) -> tuple[Value, ...]:
    """What a value of which `centre_of` knows the x is computed by."""
    found = first(_CENTRE, value)
    return found.consumed if found is not None else ()


def narrow(value: Value) -> Value:
    """A value before it was cast to float32."""
    while value.op == "cast" and value.attrs == ("float32",):
        value = value.operands[0]
    return value


def is_centred(value: Value) -> bool:
    """Whether some mean was taken off."""
    if value.op != "add":
        return False
    return any(
        part.op == "mul" and is_const(part.operands[1], -1) and part.operands[0].op == "mean"
        for part in value.operands
    )
