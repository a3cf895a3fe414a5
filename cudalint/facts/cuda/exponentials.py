"""Exponentials in device code, and whether anything keeps their exponents from overflowing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.flow import Flow, calls_in
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.functions import Function

EXP = lazy_compile(
    r"(?:__)?(?:h2?)?exp(?:2|10)?f?(?:_approx\w*|_ftz\w*)?\Z|fast_?exp\w*\Z|ptx_exp2\Z|ex2\w*\Z"
)
# A name that holds a maximum, or a logarithm of a sum.
_MAXIMUM = lazy_compile(
    r"(?i)(?!(?:FLT|INT|DBL|HALF|UINT|LONG|CUDA)_?(?:FLOAT_)?MAX\b)\w*(?:max|lse|log_?sum|largest|biggest|peak)\w*\Z"
    r"|(?:row_|s_|sh_|new_|old_|prev_|cur_|run_|block_|thread_|local_)?m(?:i|ij|_?i_?j?|_?new|_?old|_?prev|_?cur|_?row|_?tile|_?block|x|\d?)?\Z"
    r"|(?:[lL]|shift|offset|bias_?correct\w*)\Z"
)
_MAX_CALL = lazy_compile(r"(?i)max")
_LARGER = lazy_compile(r"(?:std::|::)?(?:f?maxf?|__h2?max\w*|[iu]max|Max|MAX)\Z")
SUM_CALL = lazy_compile(r"(?i)\w*(?:sum|reduce|add|red)\w*\Z")
_CONSTANT = lazy_compile(r"-?(?:\d[\w.]*|[A-Z][A-Z0-9_]+|\(?T\)?\(?\d[\w.]*\)?)\Z")
_LOWEST = lazy_compile(r"(?i)inf|min|lowest|-|max")
_MATHS = lazy_compile(
    r"(?:__)?(?:h2?|f)?(?:exp(?:2|10)?|log(?:2|10)?|sqrt|rsqrt|pow|tanh|sin|cos|abs|fabs|fma|mul|add|sub|neg|floor|ceil"
    r"|round|min|erf|sigmoid)f?(?:_r[nzud]|_sat)?\Z|f(?:ma|mul|add|sub)\w*\Z|__ld\w+\Z|\w*ldg\Z|\w*LDG\Z"
    r"|(?:static|reinterpret|const)_cast\Z|bit_cast\Z|float\Z|double\Z|half\Z|int\Z|T\Z|\w+_t\Z"
    r"|__\w*2\w+\Z|make_\w+\Z|(?:to|cast|convert)_?\w*\Z|\w*(?:_cast|[cC]ast|2float|2half|ToFloat|_to_\w+)\Z|[A-Z]\w*\d?\Z|__shfl\w*\Z"
)


class Exponentials:
    """The exponentials of one function: `all`, and those that nothing is known to bound."""

    def __init__(self, function: Function, flow: Flow) -> None:
        self.facts = function.facts
        self.function = function
        self.flow = flow
        self.all = [
            node for node in flow.nodes if node.type == "call_expression" and self._is_exp(node)
        ]
        self.bare = [node for node in self.all if self._is_bare(node)]

    def _is_exp(self, node: Node) -> bool:
        for name, call in calls_in([node]):
            if len(arguments_of(call)) == 1 and EXP.match(name):
                return True
            return self._wraps_exp(name)
        return False

    def _wraps_exp(self, name: str) -> bool:
        """Whether a macro or a helper of the file is an exponential of what it is given."""
        macro = self.facts.macros.get(name)
        if macro is not None and macro.parameters and len(macro.body) < 200:
            return re.match(r"\(?\s*(?:__)?(?:std::)?exp(?:2|10)?f?\s*\(", macro.body) is not None
        for helper in self.facts.by_name.get(name, ()):
            text = helper.text
            if helper.is_device and len(text) < 300 and helper is not self.function:
                returned = re.search(rb"return\s+(?:std::|::)?(?:__)?h?exp(?:2|10)?f?\s*\(", text)
                if returned is not None and b"max" not in text.lower():
                    return True
        return False

    def _is_bare(self, node: Node) -> bool:
        """Whether nothing that may be a maximum, a sign or an unknown helper is in the exponent."""
        arguments = arguments_of(node)
        if not arguments or any(map(_is_negated, arguments)):
            return False
        for argument in arguments:
            for part in self.flow.slice(argument):
                if self._may_bound(part):
                    return False
        return True

    def _may_bound(self, part: Node) -> bool:
        """Whether a part of an exponent may keep it from overflowing."""
        if part.type == "identifier":
            name = text_of(part)
            return _MAXIMUM.match(name) is not None or self._is_lowered(name)
        if part.type == "field_identifier":
            return _MAXIMUM.match(text_of(part)) is not None
        if part.type in ("call_expression", "lambda_expression"):
            return self._call_may_bound(part)
        if part.type == "conditional_expression":
            return _is_choice_of_larger(part)
        if part.type == "unary_expression":
            return part.children[0].type == "-" and not is_constant(part)
        operator = part.child_by_field_name("operator")
        if operator is not None and text_of(operator) in ("-", "-="):
            right = part.child_by_field_name("right")
            return right is not None and not is_constant(right)
        return False

    def _call_may_bound(self, call: Node) -> bool:
        for name, node in calls_in([call]):
            if _LARGER.match(name) and len(arguments_of(node)) == 2:
                return not any(map(_is_bound, arguments_of(node)))
            if _MAX_CALL.search(text_of(node)):
                return True
            if SUM_CALL.match(name) or EXP.match(name) or _MATHS.match(name):
                return False
            if name in self.facts.macros.by_name:
                macro = self.facts.macros.get(name)
                return (
                    macro is None
                    or "max" in macro.body.lower()
                    or ">" in macro.body.replace("->", "")
                )
            return self._helper_may_bound(name)
        return True

    def _helper_may_bound(self, name: str) -> bool:
        helpers = self.facts.by_name.get(name, ())
        if not helpers:
            return True
        return any(
            re.search(
                rb"(?i)max|lse|[^-]>[^>]", helper.text.replace(b"<<", b"").replace(b">>", b"")
            )
            for helper in helpers
        )

    def _is_lowered(self, name: str) -> bool:
        """Whether something is taken off a name, or it is a running maximum: `if (x > m) m = x`."""
        for definition in self.flow.definitions.get(name, ()):
            if definition.operator == "-=" and not is_constant(definition.value):
                return True
            value = definition.value
            if value.type == "conditional_expression" and _is_choice_of_larger(value):
                return True
            parent = definition.node.parent
            for _ in range(3):
                if parent is None or parent.type == "if_statement":
                    break
                parent = parent.parent
            if parent is not None and parent.type == "if_statement" and definition.operator == "=":
                test = parent.child_by_field_name("condition")
                if test is not None and re.search(rf"\b{re.escape(name)}\b", text_of(test)):
                    return ">" in text_of(test) or "<" in text_of(test)
        return False


def is_constant(node: Node) -> bool:
    return _CONSTANT.match(text_of(node).strip("() ")) is not None


def _is_bound(node: Node) -> bool:
    """Whether an argument of a maximum is a number, and not the lowest one."""
    text = text_of(node)
    return is_constant(node) and _LOWEST.search(text) is None


def _is_negated(node: Node) -> bool:
    """Whether an exponent has a minus sign in front: a decay, a gate, a distance."""
    while node.type in ("parenthesized_expression", "cast_expression"):
        node = node.child_by_field_name("value") or node.named_children[-1]
    if node.type == "unary_expression":
        return node.children[0].type == "-"
    if node.type == "number_literal":
        return text_of(node).startswith("-")
    if node.type == "binary_expression":
        operator = text_of(node.child_by_field_name("operator") or node)
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if operator in ("*", "/"):
            return any(side is not None and _is_negated(side) for side in (left, right))
        if operator == "-":
            return left is not None and is_constant(left)
    return False


def _is_choice_of_larger(node: Node) -> bool:
    """Whether a ternary takes the larger of two: `a > b ? a : b`."""
    condition = node.child_by_field_name("condition")
    arms = [node.child_by_field_name("consequence"), node.child_by_field_name("alternative")]
    while condition is not None and condition.type == "parenthesized_expression":
        condition = condition.named_children[0] if condition.named_children else None
    if condition is None or condition.type != "binary_expression":
        return False
    if text_of(condition.child_by_field_name("operator") or condition) not in (
        ">",
        "<",
        ">=",
        "<=",
    ):
        return False
    sides = {text_of(side) for side in condition.named_children}
    return all(arm is not None and text_of(arm) in sides for arm in arms)
