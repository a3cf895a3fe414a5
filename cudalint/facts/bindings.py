"""What a scope binds: one walk over its own statements, never into nested scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node

_NESTED = {
    "lambda",
    "list_comprehension",
    "set_comprehension",
    "dictionary_comprehension",
    "generator_expression",
}
_PATTERNS = {
    "pattern_list",
    "tuple_pattern",
    "list_pattern",
    "list_splat_pattern",
    "tuple",  # `with … as (a, b)` parses its target as an expression
    "list",
}
_WRAPPERS = {"as_pattern_target", "parenthesized_expression"}
# Where bindings stand, but for `:=`, which may stand in any expression.
_HOLDERS = {
    *("module", "block", "if_statement", "elif_clause", "else_clause", "for_statement"),
    *("while_statement", "try_statement", "except_clause", "except_group_clause"),
    *("finally_clause", "with_statement", "with_clause", "with_item", "match_statement"),
    *(
        "case_clause",
        "case_pattern",
        "decorated_definition",
        "expression_statement",
        "for_in_clause",
    ),
    "ERROR",
}
# Where no binding of the scope stands.
_CLOSED = {
    *("identifier", "string", "integer", "float", "comment", "attribute", "subscript"),
    *_NESTED,
}


class Binding(NamedTuple):
    """One place where a scope binds a name.

    `kind`: import, param, assign, unpack, augment, annotate, def, class, for, with, except, walrus,
    delete, match, global or nonlocal. `value` is the bound expression where there is exactly one:
    the right side (assign, augment, walrus), the iterable (for), the context expression (with),
    the default (param) and, for unpack, the whole right side. `target` is an import's qualified
    path. `annotation` is the declared type.
    """

    kind: str
    node: Node
    statement: Node
    value: Node | None = None
    target: str = ""
    annotation: Node | None = None


class _Walk:
    def __init__(self, scope: Node) -> None:
        self.walrus = b":=" in (scope.text or b"")
        self.found: dict[str, list[Binding]] = {}

    def add(self, kind: str, node: Node, statement: Node, **more: object) -> None:
        name = (node.text or b"").decode("utf-8", "replace")
        self.found.setdefault(name, []).append(Binding(kind, node, statement, **more))  # type: ignore[arg-type]

    def pattern(self, kind: str, target: Node, statement: Node, value: Node | None) -> None:
        """Bind the names of an assignment target; attributes and subscripts bind none."""
        if target.type == "identifier":
            self.add(kind, target, statement, value=value)
        elif target.type in _WRAPPERS:
            for child in target.named_children:
                self.pattern(kind, child, statement, value)
        elif target.type in _PATTERNS:
            for child in target.named_children:
                self.pattern("unpack" if kind == "assign" else kind, child, statement, value)


def bindings_of(scope: Node) -> dict[str, list[Binding]]:
    """The bindings of a scope by name, in source order; `*` holds star imports."""
    walk = _Walk(scope)
    walrus = walk.walrus
    if scope.type in ("function_definition", "lambda"):
        _parameters(walk, scope)
        body = scope.child_by_field_name("body")
        stack = [body] if body is not None else []
    elif scope.type == "class_definition":
        body = scope.child_by_field_name("body")
        stack = [body] if body is not None else []
    else:
        stack = list(reversed(scope.named_children))
    while stack:
        node = stack.pop()
        kind = node.type
        handler = _HANDLERS.get(kind)
        if handler is not None:
            inside = handler(walk, node)
        else:
            inside = kind in _HOLDERS or (walrus and kind not in _CLOSED)
        if inside:
            stack.extend(reversed(node.named_children))
    return walk.found


def _parameters(walk: _Walk, function: Node) -> None:
    given = function.child_by_field_name("parameters")
    for node in given.named_children if given is not None else ():
        if node.type == "identifier":
            walk.add("param", node, node)
            continue
        name = node.child_by_field_name("name") or _first_identifier(node)
        if name is not None:
            walk.add(
                "param",
                name,
                node,
                value=node.child_by_field_name("value"),
                annotation=node.child_by_field_name("type"),
            )


def _first_identifier(node: Node) -> Node | None:
    while node.type != "identifier":
        if not node.named_children:
            return None
        node = node.named_children[0]
    return node


def _definition(walk: _Walk, node: Node) -> bool:
    name = node.child_by_field_name("name")
    if name is not None:
        walk.add("class" if node.type == "class_definition" else "def", name, node)
    return False


def _assignment(walk: _Walk, node: Node) -> bool:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    annotation = node.child_by_field_name("type")
    value = right
    while value is not None and value.type == "assignment":  # a = b = value
        value = value.child_by_field_name("right")
    if left is not None and annotation is not None and left.type == "identifier":
        kind = "assign" if right is not None else "annotate"
        walk.add(kind, left, node, value=value, annotation=annotation)
    elif left is not None:
        walk.pattern("assign", left, node, value)
    return walk.walrus or node.has_error or (right is not None and right.type == "assignment")


def _augmented(walk: _Walk, node: Node) -> bool:
    left = node.child_by_field_name("left")
    if left is not None:
        walk.pattern("augment", left, node, node.child_by_field_name("right"))
    return walk.walrus or node.has_error


def _for(walk: _Walk, node: Node) -> bool:
    left = node.child_by_field_name("left")
    if left is not None:
        walk.pattern("for", left, node, node.child_by_field_name("right"))
    return True


def _as(walk: _Walk, node: Node) -> bool:
    """`with … as x`, `except … as x`: both are as_pattern nodes."""
    kind = "with" if node.parent is not None and node.parent.type == "with_item" else "except"
    alias = node.child_by_field_name("alias")
    if alias is not None:
        walk.pattern(kind, alias, node, node.named_children[0])
    return True


def _walrus(walk: _Walk, node: Node) -> bool:
    name = node.child_by_field_name("name")
    if name is not None:
        walk.add("walrus", name, node, value=node.child_by_field_name("value"))
    return True


def _delete(walk: _Walk, node: Node) -> bool:
    for child in node.named_children:
        walk.pattern("delete", child, node, None)
        if child.type == "expression_list":
            for name in child.named_children:
                walk.pattern("delete", name, node, None)
    return False


def _declare(walk: _Walk, node: Node) -> bool:
    for name in node.named_children:
        walk.add("global" if node.type == "global_statement" else "nonlocal", name, node)
    return False


def _match(walk: _Walk, node: Node) -> bool:
    stack = list(node.named_children)
    while stack:
        child = stack.pop()
        if child.type == "identifier":
            walk.add("match", child, node)
        stack.extend(child.named_children)
    return False


def _import(walk: _Walk, node: Node) -> bool:
    for name in node.children_by_field_name("name"):
        if name.type == "aliased_import":
            path, alias = name.child_by_field_name("name"), name.child_by_field_name("alias")
            if path is not None and alias is not None:
                walk.add("import", alias, node, target=_text(path))
        else:  # `import a.b` binds a
            top = name.named_children[0]
            walk.add("import", top, node, target=_text(top))
    return False


def _from(walk: _Walk, node: Node) -> bool:
    module = node.child_by_field_name("module_name")
    if module is None:
        return False
    path = _text(module)
    base = path if path.endswith(".") else f"{path}."
    for name in node.children_by_field_name("name"):
        if name.type == "aliased_import":
            inner, alias = name.child_by_field_name("name"), name.child_by_field_name("alias")
            if inner is not None and alias is not None:
                walk.add("import", alias, node, target=base + _text(inner))
        else:
            walk.add("import", name, node, target=base + _text(name))
    for child in node.named_children:
        if child.type == "wildcard_import":
            walk.add("import", child, node, target=path)
    return False


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


_HANDLERS = {
    "function_definition": _definition,
    "class_definition": _definition,
    "assignment": _assignment,
    "augmented_assignment": _augmented,
    "for_statement": _for,
    "for_in_clause": _for,
    "as_pattern": _as,
    "named_expression": _walrus,
    "delete_statement": _delete,
    "global_statement": _declare,
    "nonlocal_statement": _declare,
    "case_pattern": _match,
    "import_statement": _import,
    "import_from_statement": _from,
}
