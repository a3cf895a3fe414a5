"""Expressions and loop heads that stand in macros, parsed by themselves."""

from __future__ import annotations

import re
from functools import lru_cache

from tree_sitter import Node, Parser

from cudalint.facts.cuda.functions import is_broken
from cudalint.parse import language


@lru_cache(maxsize=4096)
def expression(text: str) -> Node | None:
    """The expression that a text is; None where it is more, or less."""
    if ";" in text or "{" in text:
        return None
    statement = _first_statement(f"void f(){{({text});}}")
    if statement is None or statement.type != "expression_statement":
        return None
    found = statement.named_children[0] if statement.named_children else None
    return None if found is None or is_broken(statement) else found


@lru_cache(maxsize=1024)
def loop_head(text: str) -> Node | None:
    """The `for` statement whose head a text is."""
    statement = _first_statement(f"void f(){{{text} ;}}")
    if statement is None or statement.type != "for_statement" or is_broken(statement):
        return None
    return statement


def _first_statement(text: str) -> Node | None:
    tree = Parser(language("cuda")).parse(text.encode())
    definition = tree.root_node.named_children[0] if tree.root_node.named_children else None
    body = definition.child_by_field_name("body") if definition is not None else None
    return body.named_children[0] if body is not None and body.named_child_count == 1 else None


def substituted(body: str, parameters: tuple[str, ...], arguments: list[str]) -> str:
    """A macro's body with its arguments in place of its parameters."""
    by_name = dict(zip(parameters, arguments, strict=False))
    if not by_name:
        return body
    pattern = r"\b(?:" + "|".join(map(re.escape, by_name)) + r")\b"
    return re.sub(pattern, lambda match: by_name[match.group()], body)
