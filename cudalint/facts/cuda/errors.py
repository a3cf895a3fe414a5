"""Who looks at the error of a launch: the runtime's own calls, macros and helpers, callers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.types import last_name
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda import CudaFacts
    from cudalint.facts.cuda.functions import Function
    from cudalint.facts.cuda.launches import Launch

# Calls whose result tells of an earlier launch.
_TELLING = lazy_compile(
    r"(?:cuda|hip)(?:GetLastError|PeekAtLastError|DeviceSynchronize|StreamSynchronize"
    r"|EventSynchronize|ThreadSynchronize|Memcpy|MemcpyToSymbol|MemcpyFromSymbol|Memcpy2D"
    r"|StreamQuery|CtxSynchronize)|cu(?:Ctx|Stream)Synchronize"
)
_TELLING_BYTES = lazy_compile(rb"\b(?:" + _TELLING.pattern.encode() + rb")\b")
# Names of macros and functions that other files define.
_CHECK_NAME = lazy_compile(
    r"(?i)(?!(?:cuda|hip)(?:GetErrorString|GetErrorName|Error(?:_t|[A-Z]\w*)|Success)\Z)(?:(?=.*(?:cuda|kernel|launch|hip|gpu))(?=.*(?:check|chk|err|catch))"
    r"|.*(?:last_?error|check_?err|err_?check|post_?kernel|launch_?check))"
)
_ARMS = frozenset({"if_statement", "preproc_if", "preproc_ifdef", "preproc_elif"})
# Callers of callers are followed this far.
_DEPTH = 4
_OVERLOADS = 8


def is_checked(launch: Launch) -> bool:
    """Whether something looks at the error of a launch before control leaves what the file shows.

    True also where the file does not show enough: a function that the grammar did not read, a
    macro that another file uses, a launch from the device.
    """
    function = launch.function
    if function is None or not function.is_whole or function.is_kernel or function.is_device:
        return True
    seen = {function: launch.node.start_byte}
    level: list[tuple[Function, Node]] = [(function, launch.node)]
    for _ in range(_DEPTH):
        if any(map(_is_checked_in, level)):
            return True
        callers = [caller for one, _ in level for caller in _callers(one)]
        level = []
        for caller, node in callers:
            if node.start_byte < seen.get(caller, node.start_byte + 1):
                seen[caller] = node.start_byte
                level.append((caller, node))
    return function.macro is not None and len(seen) == 1


def _is_checked_in(place: tuple[Function, Node]) -> bool:
    """Whether something in a function looks at the error of a node, or nobody can know."""
    function, node = place
    if not function.is_whole or _is_wrapped(node, function.facts):
        return True
    return any(_follows(check, node) for check in checks(function))


def checks(function: Function) -> list[Node]:
    """The expressions of a function that look at the error of what ran before."""
    facts = function.facts
    if function not in facts.error_checks:
        facts.error_checks[function] = list(_checks_below(function.body, facts))
    return facts.error_checks[function]


def _checks_below(node: Node, facts: CudaFacts) -> Iterator[Node]:
    stack = [node]
    while stack:
        node = stack.pop()
        if _is_check(node, facts):
            yield node
            continue
        stack += node.named_children


def _is_check(node: Node, facts: CudaFacts) -> bool:
    if node.type == "identifier":
        parent = node.parent
        alone = parent is not None and parent.type in ("expression_statement", "declaration")
        return alone and names_check(text_of(node), facts)
    if node.type != "call_expression":
        return False
    callee = node.child_by_field_name("function")
    name = last_name(text_of(callee)) if callee is not None else ""
    if _TELLING.fullmatch(name):
        return _is_used(node)
    if not names_check(name, facts) or not _takes_no_call(node, facts, name):
        return False
    return _is_used(node) or not _hands_on(name, facts)


def _hands_on(name: str, facts: CudaFacts) -> bool:
    """Whether a function of the file only returns the error: who drops the result checks nothing."""
    if name in facts.macros.by_name:
        return False
    found = [check for one in facts.by_name.get(name, ()) for check in checks(one)]
    return bool(found) and all(map(_is_returned, found))


def _is_returned(check: Node) -> bool:
    parent = check.parent
    while parent is not None and parent.type in ("parenthesized_expression", "cast_expression"):
        parent = parent.parent
    return parent is not None and parent.type == "return_statement"


def names_check(name: str, facts: CudaFacts) -> bool:
    """Whether a macro or function checks for errors: by its body in the file, else by its name."""
    known = facts.known_checks.get(name)
    if known is None:
        facts.known_checks[name] = False  # while its own body is read
        known = facts.known_checks[name] = _names_check(name, facts)
    return known


def _names_check(name: str, facts: CudaFacts) -> bool:
    macros = facts.macros.by_name.get(name)
    if macros:
        return any(_tells(macro.body, facts) for macro in macros)
    helpers = [one for one in facts.by_name.get(name, ()) if not one.is_kernel]
    if helpers:
        return any(bool(checks(one)) and not one.is_device for one in helpers)
    return _CHECK_NAME.match(name) is not None


def _tells(body: str, facts: CudaFacts) -> bool:
    """Whether the text of a macro looks at an error: not only that of its own argument."""
    if _TELLING_BYTES.search(body.encode()) is not None:
        return True
    words = set(re.findall(r"[A-Za-z_]\w*", body))
    return any(
        names_check(word, facts)
        for word in words
        if _CHECK_NAME.match(word) or word in facts.macros.by_name
    )


def _takes_no_call(node: Node, facts: CudaFacts, name: str) -> bool:
    """Whether a check looks at the last error, and not only at that of the call it is given."""
    if name in facts.macros.by_name or name in facts.by_name:
        return True
    arguments = arguments_of(node)
    texts = [argument.type for argument in arguments]
    return not arguments or "string_literal" in texts or texts == ["identifier"]


def _is_used(node: Node) -> bool:
    """Whether the result of a call goes anywhere."""
    parent = node.parent
    while parent is not None and parent.type in ("parenthesized_expression", "cast_expression"):
        parent = parent.parent
    return parent is not None and parent.type not in ("expression_statement", "comma_expression")


def _is_wrapped(node: Node, facts: CudaFacts) -> bool:
    """Whether a launch, or the call that launches, is itself the argument of a check."""
    parent = node.parent
    while parent is not None and parent.type not in ("compound_statement", "lambda_expression"):
        if parent.type == "call_expression":
            callee = parent.child_by_field_name("function")
            name = last_name(text_of(callee)) if callee is not None else ""
            if _CHECK_NAME.match(name) or names_check(name, facts):
                return True
        parent = parent.parent
    return False


def _follows(check: Node, node: Node) -> bool:
    """Whether a check may run after a node: it stands behind it, and in no other arm."""
    if check.start_byte < node.end_byte:
        return False
    parent = check.parent
    below: Node | None = check
    while parent is not None and not (
        parent.start_byte <= node.start_byte and node.end_byte <= parent.end_byte
    ):
        below, parent = parent, parent.parent
    if parent is None or below is None:
        return True
    if parent.type in _ARMS:
        return below != parent.child_by_field_name("alternative")
    return below.type != "case_statement" or not _stands_in_case(node, parent)


def _stands_in_case(node: Node, body: Node) -> bool:
    parent = node.parent
    while parent is not None and parent != body:
        if parent.type == "case_statement":
            return True
        parent = parent.parent
    return False


def _callers(function: Function) -> list[tuple[Function, Node]]:
    """The functions that call a function, or name it or its class, each with the first place."""
    facts = function.facts
    if function not in facts.callers:
        facts.callers[function] = list(_mentions(function))
    return facts.callers[function]


def _mentions(function: Function) -> Iterator[tuple[Function, Node]]:
    facts = function.facts
    if len(facts.by_name.get(function.name, ())) > _OVERLOADS:
        return  # `TEST(…) { … }` and the like: no function of that name
    names = [re.escape(name.encode()) for name in (function.name, function.owner) if name]
    seen: set[Function] = {function}
    for match in re.finditer(rb"\b(?:" + b"|".join(names) + rb")\b", facts.text) if names else ():
        if function.node.start_byte <= match.start() < function.node.end_byte:
            continue
        node = facts.root.descendant_for_byte_range(match.start(), match.end())
        caller = facts.enclosing(node) if node is not None else None
        in_macro = function.macro is not None and node is not None and node.type == "preproc_arg"
        if node is None or not (node.type.endswith("identifier") or in_macro):
            continue
        if caller is not None and caller not in seen:
            seen.add(caller)
            yield caller, node
