"""Guards: code that a version, a feature test or an import's failure chose on purpose."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# What a version or feature test looks like, flags imported from elsewhere included.
_TEST = lazy_compile(
    r"__version__|version_info|\bversion\.|[vV]ersion\(|_version\(|torch_version|find_spec"
    r"|is_scripting|is_tracing|\bis_torch_|(?i:torch_?v?(?:ge|gt|lt|le|since|greater|less|min|version|[12])(?:_|\b|\d))",
)
_UNIMPORTABLE = {"ImportError", "ModuleNotFoundError"}
_ABSENT = {"AttributeError", "TypeError"}
_BROAD = {"Exception", "BaseException", ""}
_SMALL = 3  # statements in a `try` that is about one interface, not a program's whole run
_LOGIC = {
    "not_operator",
    "boolean_operator",
    "parenthesized_expression",
    "comparison_operator",
}
_LEAVES = {"return_statement", "continue_statement"}


def is_guarded(facts: PythonFacts, node: Node) -> bool:
    """Whether a node is one side of a deliberate pair: new interface here, old one there.

    That is a branch under a version or feature test (`else` included, and what follows an `if`
    with such a test that returns), and a small `try` that expects an import or attribute to fail
    or falls back in its handler.
    """
    child, parent = node, node.parent
    while parent is not None:
        kind = parent.type
        if kind in ("if_statement", "conditional_expression", "elif_clause"):
            test = _test_of(parent)
            if test is not None and test.id != child.id and is_feature_test(facts, test):
                return True
        elif kind == "try_statement":
            falls_back = child.type == "except_clause" and _is_small(parent)
            if falls_back or _expects_absence(facts, parent):
                return True
        elif kind in ("block", "module") and _returned_before(facts, parent, child):
            return True
        child, parent = parent, parent.parent
    return False


def is_feature_test(facts: PythonFacts, test: Node) -> bool:
    """Whether a condition asks for a version or a feature, directly or through a flag's name."""
    if _TEST.search(facts.code(test)):
        return True
    stack = [test]
    while stack:
        at = stack.pop()
        if at.type == "identifier" and _is_feature_flag(facts, at):
            return True
        if at.type == "call" and _asks_module(facts, at):
            return True
        if at.type in _LOGIC:
            stack.extend(at.named_children)
    return False


def _asks_module(facts: PythonFacts, call: Node) -> bool:
    """`hasattr(torch.amp, …)`, `getattr(F, …)`: of a module, not of an options object."""
    if facts.names.callee(call) not in ("builtins.hasattr", "builtins.getattr"):
        return False
    given = facts.names.arguments(call).positional
    return bool(given) and facts.names.qualified(given[0]) is not None


def _is_feature_flag(facts: PythonFacts, name: Node) -> bool:
    found = facts.names.lookup(name)
    for binding in found[1] if found is not None else ():
        if binding.kind != "assign" or binding.value is None:
            continue
        value = binding.value
        if _TEST.search(facts.code(value)) or (value.type == "call" and _asks_module(facts, value)):
            return True
        holder = binding.statement.parent
        holder = holder.parent.parent if holder is not None and holder.parent is not None else None
        if holder is not None and holder.type in ("try_statement", "except_clause"):
            at = holder if holder.type == "try_statement" else holder.parent
            if at is not None and _expects_absence(facts, at):
                return True
    return False


def _test_of(branch: Node) -> Node | None:
    if branch.type == "conditional_expression":  # value if test else value
        return branch.named_children[1] if len(branch.named_children) > 1 else None
    return branch.child_by_field_name("condition")


def _expects_absence(facts: PythonFacts, statement: Node) -> bool:
    """`try: … except ImportError:`; a broad `except` counts around plain imports alone."""
    body = statement.child_by_field_name("body")
    caught = {name for node in statement.children for name in _caught(facts, node)}
    if caught & _UNIMPORTABLE:
        return True
    if body is None or not _is_small(statement):
        return False
    if caught & _ABSENT:
        return True
    plain = [child for child in body.named_children if child.type != "comment"]
    return bool(caught & _BROAD) and all(_takes_name(child) for child in plain)


def _takes_name(statement: Node) -> bool:
    """An import, or `name = module.attribute`: what fails where the interface is not there."""
    if statement.type in ("import_statement", "import_from_statement", "pass_statement"):
        return True
    made = statement.named_children[0] if statement.type == "expression_statement" else None
    value = made.child_by_field_name("right") if made is not None else None
    return value is not None and value.type in ("attribute", "identifier", "true", "false", "none")


def _is_small(statement: Node) -> bool:
    body = statement.child_by_field_name("body")
    return body is not None and len(body.named_children) <= _SMALL


def _caught(facts: PythonFacts, clause: Node) -> list[str]:
    if clause.type != "except_clause":
        return []
    kinds = [child for child in clause.named_children if child.type not in ("block", "comment")]
    if not kinds:
        return [""]
    return re.findall(r"\w+", facts.code(kinds[0]).partition(" as ")[0])


def _returned_before(facts: PythonFacts, block: Node, child: Node) -> bool:
    for statement in block.named_children:
        if statement.start_byte >= child.start_byte:
            return False
        if statement.type != "if_statement":
            continue
        test, body = _test_of(statement), statement.child_by_field_name("consequence")
        ends = body is not None and any(n.type in _LEAVES for n in body.named_children[-1:])
        if ends and test is not None and is_feature_test(facts, test):
            return True
    return False
