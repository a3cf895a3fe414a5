"""Statements: one function each, that changes what names hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.graph import expressions as ex
from cudalint.facts.graph import operators
from cudalint.facts.graph.memory import SELF, bind, blur, fresh, join, read, view, write
from cudalint.facts.graph.pool import is_scalar
from cudalint.facts.graph.scan import assigned_names
from cudalint.facts.graph.values import Environment, Use, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder

LEAVING = {"return_statement", "raise_statement", "continue_statement", "break_statement"}


def _expression(b: Builder, node: Node) -> bool:
    for child in node.named_children:
        if child.type == "assignment":
            _assignment(b, child, node)
        elif child.type == "augmented_assignment":
            _augmented(b, child, node)
        elif child.type != "comment":
            ex.evaluate(b, child)
    return True


def _assignment(b: Builder, node: Node, statement: Node) -> None:
    targets, right = [], node
    while right.type == "assignment":
        left, value = right.child_by_field_name("left"), right.child_by_field_name("right")
        if left is None or value is None:
            return  # an annotation alone
        targets.append(left)
        right = value
    slot = ex.evaluate(b, right)
    for target in targets:
        b.assign(target, slot, statement)


def _augmented(b: Builder, node: Node, statement: Node) -> None:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    operator = node.child_by_field_name("operator")
    if left is None or right is None or operator is None:
        return
    target = ex.evaluate(b, left)
    other = ex.evaluate(b, right)
    made = operators.binary(b, operator.type[:-1], target, other, node)
    if left.type == "subscript":
        b.assign(left, made, statement)
        return
    if is_scalar(target.value) or operator.type == "@=":
        b.assign(left, made, statement)
        return
    slot = write(b, target, made.value, statement)
    if left.type == "identifier":
        b.env[b.facts.code(left)] = slot._replace(definitions=slot.definitions)
    elif left.type == "attribute" and b.facts.code(left).startswith(SELF):
        made.value.uses.append(Use("store", None, left))


def _if(b: Builder, node: Node) -> bool:
    """Both arms run on copies; `elif` is an `if` in the `else`."""
    arms: list[tuple[Value, Environment | None]] = []
    alive = True
    for clause in (node, *node.children_by_field_name("alternative")):
        condition = clause.child_by_field_name("condition")
        body = clause.child_by_field_name("consequence") or clause.child_by_field_name("body")
        if condition is None:
            alive = body is None or b.block(body)
            break
        b.statement = b.pool.statement = node
        test = ex.evaluate(b, condition).value
        test.uses.append(Use("test", None, condition))
        outer = b.env
        _switch(b, dict(outer))
        reached = body is None or b.block(body)
        arms.append((test, b.env if reached else None))
        _switch(b, outer)
    after: Environment | None = b.env if alive else None
    for test, arm in reversed(arms):
        after = join(b, test, arm, after) if arm is not None or after is not None else None
    _switch(b, after if after is not None else b.env)
    return after is not None


def _switch(b: Builder, env: Environment) -> None:
    b.frames[-1] = b.env = env


def _for(b: Builder, node: Node) -> bool:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    source = ex.evaluate(b, right) if right is not None else None
    if source is not None:
        source.value.uses.append(Use("call", None, right))
    _loop(b, node, left)
    return True


def _while(b: Builder, node: Node) -> bool:
    _loop(b, node, None)
    return True


def _loop(b: Builder, node: Node, target: Node | None) -> None:
    """What the loop assigns is unknown at its head and after it; its body is read once."""
    changed = assigned_names(b.facts, node)
    blur(b, changed, "loop", node)
    head = b.env
    _switch(b, dict(head))
    condition = node.child_by_field_name("condition")
    if condition is not None:
        test = ex.evaluate(b, condition).value
        test.uses.append(Use("test", None, condition))
    if target is not None:
        b.assign(target, fresh(b.pool.opaque("loop", target)), None)
    body = node.child_by_field_name("body")
    if body is not None:
        b.block(body)
    _carry(head, b.env, changed)
    _switch(b, join(b, b.pool.opaque("loop", node), head, b.env))
    blur(b, [name for name in changed if name in b.env], "loop", node)
    alternative = node.child_by_field_name("alternative")
    if alternative is not None:
        inner = alternative.child_by_field_name("body")
        if inner is not None:
            b.block(inner)


def _carry(head: Environment, end: Environment, changed: set[str]) -> None:
    """What the head reads may be what the last turn bound."""
    for name in changed & head.keys() & end.keys():
        reads = {at: node for d in head[name].definitions for at, node in d.reads.items()}
        for definition in end[name].definitions:
            if definition not in head[name].definitions:
                definition.reads.update(reads)


def _try(b: Builder, node: Node) -> bool:
    """A handler may run after any part of the body: what the body assigns is unknown there."""
    body = node.child_by_field_name("body")
    changed = assigned_names(b.facts, body) if body is not None else set()
    before = dict(b.env)
    alive = body is None or b.block(body)
    after: Environment | None = b.env if alive else None
    test = b.pool.opaque("exception", node)
    for clause in node.named_children:
        if clause.type in ("except_clause", "except_group_clause"):
            _switch(b, dict(before))
            blur(b, changed, "exception", clause)
            reached = all(b.block(inner) for inner in clause.children if inner.type == "block")
            after = join(b, test, after, b.env if reached else None) or after
            _switch(b, after if after is not None else before)
        elif clause.type in ("else_clause", "finally_clause"):
            _switch(b, after if after is not None else b.env)
            for inner in clause.children:
                if inner.type == "block" and not b.block(inner):
                    return False
            after = b.env if after is not None else None
    if after is not None:
        _switch(b, after)
    return after is not None


def _with(b: Builder, node: Node) -> bool:
    for clause in node.named_children:
        if clause.type == "with_clause":
            for item in clause.named_children:
                _with_item(b, item, node)
    body = node.child_by_field_name("body")
    return body is None or b.block(body)


def _with_item(b: Builder, item: Node, statement: Node) -> None:
    value = item.child_by_field_name("value") if item.type == "with_item" else item
    if value is None:
        return
    if value.type != "as_pattern":
        ex.evaluate(b, value)
        return
    slot = ex.evaluate(b, value.named_children[0])
    alias = value.child_by_field_name("alias")
    if alias is not None:
        inner = b.pool.make("unknown", (slot.value,), ("with",), value, unique=True)
        b.assign(alias, view(inner, slot), statement)


def _return(b: Builder, node: Node) -> bool:
    slot = None
    for child in node.named_children:
        if child.type != "comment":
            slot = ex.evaluate(b, child)
    if b.depth:
        b.result = slot
    elif slot is not None:
        slot.value.uses.append(Use("return", None, node))
    return False


def _definition(b: Builder, node: Node) -> bool:
    inner = node
    if node.type == "decorated_definition":
        found = node.child_by_field_name("definition")
        inner = found if found is not None else node
        for child in node.named_children:
            if child.type == "decorator":
                for part in child.named_children:
                    ex.evaluate(b, part)
    b.capture(inner)
    name = inner.child_by_field_name("name")
    if name is not None:
        plain = inner is node and inner.type == "function_definition"
        op = "function" if plain else "unknown"
        made = b.pool.make(op, (), (inner.id,), inner, unique=True)
        bind(b, b.facts.code(name), fresh(made), node)
    return True


def _foreign(b: Builder, node: Node) -> bool:
    for child in node.named_children:
        b.foreign.add(b.facts.code(child))
    return True


def _delete(b: Builder, node: Node) -> bool:
    for child in node.named_children:
        for name in child.named_children if child.type == "expression_list" else [child]:
            slot = b.env.pop(b.facts.code(name), None)
            if slot is not None:
                read(slot, name)
            elif name.type != "identifier":
                ex.evaluate(b, name)
    return True


def _match(b: Builder, node: Node) -> bool:
    """Each case runs on a copy; what they leave is unknown where it differs."""
    subject = node.child_by_field_name("subject")
    if subject is not None:
        ex.evaluate(b, subject).value.uses.append(Use("test", None, subject))
    body = node.child_by_field_name("body")
    before, after = b.env, b.env
    for clause in body.named_children if body is not None else ():
        _switch(b, dict(before))
        blur(b, assigned_names(b.facts, clause), "match", clause)
        consequence = clause.child_by_field_name("consequence")
        if consequence is not None and b.block(consequence):
            after = join(b, b.pool.opaque("match", clause), b.env, after)
        _switch(b, after)
    return True


def _test(b: Builder, node: Node) -> bool:
    for child in node.named_children:
        if child.type != "comment":
            ex.evaluate(b, child).value.uses.append(Use("test", None, child))
    return True


STATEMENTS: dict[str, Callable[[Builder, Node], bool]] = {
    "expression_statement": _expression,
    "if_statement": _if,
    "for_statement": _for,
    "while_statement": _while,
    "try_statement": _try,
    "with_statement": _with,
    "return_statement": _return,
    "function_definition": _definition,
    "class_definition": _definition,
    "decorated_definition": _definition,
    "global_statement": _foreign,
    "nonlocal_statement": _foreign,
    "delete_statement": _delete,
    "match_statement": _match,
    "assert_statement": _test,
}
