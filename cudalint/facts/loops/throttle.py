"""Throttled code: conditions that let few steps through, and blocks that run once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import COMPREHENSIONS, FUNCTIONS, LOOPS, last_statement
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_COUNTER = lazy_compile(
    r"^(?:i|j|k|t|n|b|e|x|it|ii|ni|ep|iter|count|counter|idx|index|step|steps|batch|batch_?i)$"
    r"|step|iter|batch_?(?:idx|num|id|no|index|i|count)|epoch|_idx|idx_|_count|counter|n_batch|i_batch"
)
_NO_COUNTER = lazy_compile(
    r"rank|gpu|process|world|main|master|device|seed|mode|phase|split|type|size"
)
_FLAG = lazy_compile(
    r"verbose|debug|dry_?run|should_|^is_(?:last|first|log)|last_(?:batch|step|iter)|(?:^|_)every(?:_|$)"
    r"|do_log|log_(?:now|step|this|due)|print_(?:now|this)|time_to_|is_time|sanity|profil|first_(?:batch|step|iter)"
)
_CLOCK = lazy_compile(r"\btime\(\)|perf_counter|monotonic|\blast_\w*time|elapsed")
_ABNORMAL = lazy_compile(r"(?:^|\.)(?:isnan|isinf|is_nan|is_inf)$")
_NORMAL = lazy_compile(r"(?:^|\.)(?:isfinite|is_finite)$")
_EXIT = lazy_compile(r"^(?:sys\.exit|exit|quit|os\._exit|os\.abort)\b")
# What a counter reaches at the end: `steps - 1`, `len(loader)`, `args.max_steps`, `total`.
_LAST = lazy_compile(
    r"-\s*1$|\blen\(|(?:^|[._])(?:max|total|last|final|end|stop)(?:_|$)|_this_run$"
)
_REPEATING = (*LOOPS, *COMPREHENSIONS, *FUNCTIONS)
_FEW = 100
_DEPTH = 12


class Throttle:
    """Whether code runs on few of the turns of the loop, or calls of the function, around it."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    def between(self, node: Node, boundary: Node) -> bool:
        """Whether something between a node and a loop or function around it makes it rare."""
        child, parent = node, node.parent
        inner_loop = False
        while parent is not None and child != boundary:
            if self._rare_arm(child, parent):
                return True
            if parent.type == "block" and self._rare_block(child, parent, boundary, inner_loop):
                return True
            inner_loop = inner_loop or parent.type in LOOPS
            child, parent = parent, parent.parent
        return False

    def fails(self, node: Node) -> bool:
        """Whether code runs where something went wrong, whatever loop or function is around it."""
        child, parent = node, node.parent
        while parent is not None and parent.type not in _REPEATING:
            if _is_failure(child, parent):
                return True
            child, parent = parent, parent.parent
        return False

    # -- arms ---------------------------------------------------------------------------------

    def _rare_arm(self, child: Node, parent: Node) -> bool:
        kind = parent.type
        if _is_failure(child, parent):
            return True
        if kind == "conditional_expression":
            named = [node for node in parent.named_children if node.type != "comment"]
            if len(named) == 3 and child != named[1]:
                return self.rare(named[1], child == named[0])
        if kind == "boolean_operator" and child == parent.child_by_field_name("right"):
            left, operator = (
                parent.child_by_field_name("left"),
                parent.child_by_field_name("operator"),
            )
            if left is not None and operator is not None:
                return self.rare(left, self.facts.code(operator) == "and")
        if kind in ("if_statement", "elif_clause"):
            test = parent.child_by_field_name("condition")
            if test is None or child == test:
                return False
            if child == parent.child_by_field_name("consequence"):
                return self.rare(test, True)
            if kind == "if_statement" and child.type in ("elif_clause", "else_clause"):
                return any(self.rare(t, False) for t in self._tests_before(parent, child))
        return False

    def _tests_before(self, branch: Node, arm: Node) -> Iterator[Node]:
        """The conditions that were false where an arm of an `if` runs."""
        for node in (branch, *branch.children):
            if node.type in ("if_statement", "elif_clause") and node != arm:
                test = node.child_by_field_name("condition")
                if test is not None and test.start_byte < arm.start_byte:
                    yield test

    # -- blocks -------------------------------------------------------------------------------

    def _rare_block(self, child: Node, block: Node, boundary: Node, inner_loop: bool) -> bool:
        holder = block.parent
        if holder is None:
            return False
        in_arm = holder.type in ("if_statement", "elif_clause", "else_clause")
        if in_arm and child.parent == block and self._runs_once(block, boundary, inner_loop):
            return True
        if (
            holder != boundary
            and not in_arm
            and holder.type not in ("with_statement", "try_statement")
        ):
            return False
        return any(self._skips_most(statement) for statement in _before(block, child))

    def _runs_once(self, block: Node, boundary: Node, inner_loop: bool) -> bool:
        """Whether a branch ends the loop or the program: what is in it runs once at most."""
        last = last_statement(block)
        if last is None:
            return False
        if last.type == "raise_statement" or _EXIT.match(self.facts.code(last)):
            return True
        if boundary.type not in LOOPS:
            return False
        around = block.parent
        while around is not None and around.type not in LOOPS:
            around = around.parent
        if last.type == "break_statement":
            return around == boundary
        return last.type == "return_statement"

    def _skips_most(self, statement: Node) -> bool:
        """`if step % 10 != 0: continue`: what follows runs on few steps."""
        if statement.type != "if_statement":
            return False
        body = statement.child_by_field_name("consequence")
        test = statement.child_by_field_name("condition")
        last = last_statement(body) if body is not None else None
        if (
            test is None
            or last is None
            or last.type not in ("continue_statement", "return_statement")
        ):
            return False
        return self.rare(test, False)

    # -- conditions ---------------------------------------------------------------------------

    def rare(self, test: Node, truth: bool, depth: int = 0) -> bool:
        """Whether a condition is seldom true (or seldom false)."""
        if depth > _DEPTH:
            return False
        kind = test.type
        if kind == "parenthesized_expression" and len(test.named_children) == 1:
            return self.rare(test.named_children[0], truth, depth + 1)
        if kind == "not_operator" and test.named_children:
            return self.rare(test.named_children[0], not truth, depth + 1)
        if kind == "named_expression" and len(test.named_children) == 2:
            return self.rare(test.named_children[1], truth, depth + 1)
        if kind == "boolean_operator":
            return self._rare_logic(test, truth, depth)
        if kind == "comparison_operator":
            return self._rare_comparison(test, truth)
        if kind == "binary_operator":  # `if step % n:`
            return not truth and self._is_modulo(test)
        if kind in ("identifier", "attribute", "call"):
            return self._rare_flag(test, truth, depth)
        return False

    def _rare_logic(self, test: Node, truth: bool, depth: int) -> bool:
        operator = test.child_by_field_name("operator")
        sides = [test.child_by_field_name("left"), test.child_by_field_name("right")]
        rare = [self.rare(side, truth, depth + 1) for side in sides if side is not None]
        is_and = operator is not None and self.facts.code(operator) == "and"
        return any(rare) if is_and == truth else all(rare)

    def _rare_comparison(self, test: Node, truth: bool) -> bool:
        operands = [node for node in test.named_children if node.type != "comment"]
        signs = [node.type for node in test.children if node not in test.named_children]
        if len(operands) != 2 or len(signs) != 1:
            return False
        sign, (left, right) = signs[0], operands
        if any(self._is_modulo(node) for node in operands):
            return truth == (sign in ("==", "<", "<=", "in"))
        if _CLOCK.search(self.facts.code(test)):
            return truth and sign in (">", ">=")
        if sign in ("in", "not in"):
            return truth == (sign == "in") and self._is_counter(left)
        if sign in ("==", "!="):
            numbers = self._is_counter(left) or self._is_counter(right)
            plain = right.type not in ("string", "true", "false", "none")
            return truth == (sign == "==") and numbers and plain
        return truth and self._is_at_edge(left, sign, right)

    def _is_at_edge(self, left: Node, sign: str, right: Node) -> bool:
        """`step < 3`, `step >= last - 1`: the first few steps, or the last."""
        if sign in ("<", "<=") and self._is_counter(left) and right.type == "integer":
            digits = self.facts.code(right).replace("_", "")
            return digits.isdigit() and int(digits) <= _FEW
        if sign in (">", ">=") and self._is_counter(left):
            return bool(_LAST.search(self.facts.code(right)))
        return False

    def _is_modulo(self, node: Node) -> bool:
        """An expression with an integer remainder in it: `step % n`, `(i + 1) % n`, `i & mask`."""
        stack = [node]
        while stack:
            at = stack.pop()
            if at.type == "binary_operator":
                operator, left = at.child_by_field_name("operator"), at.child_by_field_name("left")
                sign = self.facts.code(operator) if operator is not None else ""
                if sign in ("%", "&") and left is not None and left.type != "string":
                    return not self.facts.tensors.value(left).is_tensor
            if at.type in ("binary_operator", "parenthesized_expression", "unary_operator"):
                stack.extend(at.named_children)
        return False

    def _is_counter(self, node: Node) -> bool:
        while node.type in ("parenthesized_expression", "binary_operator") and node.named_children:
            node = node.named_children[0]
        if node.type not in ("identifier", "attribute"):
            return False
        name = self.facts.code(node).rpartition(".")[2].lower()
        if _NO_COUNTER.search(name):
            return False
        return bool(_COUNTER.search(name)) or self._counts(node)

    def _counts(self, node: Node) -> bool:
        """Whether a name is a loop's number."""
        if node.type != "identifier":
            return False
        for binding in self.facts.flow.reaching(node):
            if binding.kind != "for" or binding.value is None:
                continue
            if (
                self.facts.names.callee(binding.value) in ("builtins.range",)
                if binding.value.type == "call"
                else False
            ):
                return True
        return False

    def _rare_flag(self, test: Node, truth: bool, depth: int) -> bool:
        function = test.child_by_field_name("function") if test.type == "call" else test
        if function is None:
            return False
        name = self.facts.code(function)
        if test.type == "call" and (_ABNORMAL.search(name) or _NORMAL.search(name)):
            return truth == bool(_ABNORMAL.search(name))
        if _FLAG.search(name.rpartition(".")[2].lower()):
            return truth
        if test.type != "identifier":
            return False
        values = [binding.value for binding in self.facts.flow.reaching(test)]
        if len(values) != 1 or values[0] is None:
            return False
        value = values[0]
        is_test = value.type in ("comparison_operator", "boolean_operator", "not_operator", "call")
        return (is_test or value.type == "parenthesized_expression") and self.rare(
            value, truth, depth + 1
        )


def _before(block: Node, child: Node) -> Iterator[Node]:
    for statement in block.named_children:
        if statement.start_byte >= child.start_byte:
            return
        yield statement


def _is_failure(child: Node, parent: Node) -> bool:
    """Whether a child runs where an exception is raised or handled, or an assertion fails."""
    kind = parent.type
    if kind == "assert_statement":  # its message is made where it fails
        return child != parent.named_children[0]
    return kind in ("except_clause", "except_group_clause", "raise_statement")
