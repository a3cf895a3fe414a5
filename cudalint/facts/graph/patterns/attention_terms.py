"""What stands between the two products of an attention, as the arguments of a fused call."""

from __future__ import annotations

from cudalint.facts.graph.patterns.conditions import Condition
from cudalint.facts.graph.pool import is_const, is_number
from cudalint.facts.graph.render import Renderer
from cudalint.facts.graph.unfit import Unfit
from cudalint.facts.graph.values import Value
from cudalint.records import field, record


@record(frozen=True)
class Part:
    """A mask or a bias, perhaps under a condition; `drops`: true where a key is left out."""

    value: Value
    condition: Condition | None
    drops: bool = False

    def text(self, render: Renderer) -> str:
        if self.condition is None:
            return self._plain(render)
        joined = self._joined(render)
        if joined is not None:
            return joined
        text = self._plain(render)
        test = self.condition.test
        present = test.op == "is_none" and not self.condition.wanted
        if present and self.value is test.operands[0] and not self.drops:
            return text  # the mask is None exactly where there is none
        return f"{text} if {self.condition.text(render)} else None"

    def _joined(self, render: Renderer) -> str | None:
        """The name that holds the mask after a branch which prepares it, and None without one."""
        assert self.condition is not None
        test = self.condition.test
        if test.op != "is_none" or self.condition.wanted:
            return None
        value = self.value
        flipped = self.drops
        if flipped and value.op == "not":
            value, flipped = value.operands[0], False
        if flipped:
            return None
        for slot in render.env.values():
            joined = slot.value
            if joined.op == "phi" and joined.operands == (test, test.operands[0], value):
                return render.name(joined)
        return None

    def _plain(self, render: Renderer) -> str:
        value = self.value
        if not self.drops:
            return render.text(value)
        if value.op == "not":
            return render.text(value.operands[0])
        if value.op in ("eq", "ne") and is_number(value.operands[1]):
            other = "!=" if value.op == "eq" else "=="
            return f"{render.atom(value.operands[0])} {other} {render.text(value.operands[1])}"
        return f"~{render.atom(value)}"


@record(eq=False)
class Terms:
    """The arguments of the fused call, and whether it computes the very same (`exact`)."""

    query: Value
    key: Value
    value: Value
    scales: list[Value] = field(default_factory=list)
    tensor_scales: list[Value] = field(default_factory=list)
    softcap: Value | None = None
    masks: list[Part] = field(default_factory=list)
    biases: list[Part] = field(default_factory=list)
    causal: list[Condition | None] = field(default_factory=list)
    dropout: Value | None = None
    grouped: bool = False
    exact: bool = True

    def query_text(self, render: Renderer) -> str:
        text = render.text(self.query)
        if self.tensor_scales:
            text = render.atom(self.query)
            for scale in self.tensor_scales:
                text += _times(scale, render)
        return text

    def scale_text(self, render: Renderer) -> str | None:
        """The scale as it is written; None where it is the default."""
        if len(self.scales) == 1 and not self.tensor_scales and self._is_default(self.scales[0]):
            return None
        if not self.scales:
            return "1.0"
        first = render.text(self.scales[0])
        if len(self.scales) == 1:
            return first
        return render.atom(self.scales[0]) + "".join(_times(s, render) for s in self.scales[1:])

    def _is_default(self, scale: Value) -> bool:
        if scale.op != "pow" or scale.attrs != (-0.5,):
            return False
        base = scale.operands[0]
        while base.op == "number" and len(base.operands) == 1:
            base = base.operands[0]
        width = base.op == "size" and base.attrs == (-1,)
        if width and base.operands[0] in (self.query, self.key):
            return True
        return any(
            shape is not None and len(shape) > 1 and shape[-1] is base
            for shape in (self.query.shape, self.key.shape)
        )

    def mask_text(self, render: Renderer) -> str | None:
        if len(self.masks) > 1:
            raise Unfit("there is more than one mask")
        return self.masks[0].text(render) if self.masks else None

    def bias_text(self, render: Renderer) -> str | None:
        if not self.biases:
            return None
        if len(self.biases) == 1:
            return self.biases[0].text(render)
        if any(part.condition is not None for part in self.biases):
            raise Unfit("there is more than one bias")
        return " + ".join(render.atom(part.value) for part in self.biases)

    def causal_text(self, render: Renderer) -> str | None:
        if not self.causal:
            return None
        conditions = [condition for condition in self.causal if condition is not None]
        return "True" if not conditions else conditions[0].text(render)

    def dropout_text(self, render: Renderer) -> str | None:
        drop = self.dropout
        if drop is None:
            return None
        if drop.attrs[0] == "module":
            return f"{drop.attrs[1]}.p if self.training else 0.0"
        p, training = drop.operands[1], drop.operands[2]
        if is_const(training, True):
            return render.text(p)
        return f"{render.atom(p)} if {render.text(training)} else 0.0"


def _times(scale: Value, render: Renderer) -> str:
    divisor = render.divisor(scale)
    if divisor is not None:
        return f" / {divisor}"
    return f" * {render.atom(scale)}"
