"""Which rules are on: `select`, `ignore` and their kin, resolved as ruff resolves them.

Selectors come in layers (a configuration file, then the command line). A layer with `select`
replaces what the layers before it switched on; within a layer the more specific selector wins
(code or name, then the longer prefix, then `ALL`), and `ignore` wins a tie.
"""

from __future__ import annotations

from collections.abc import Iterable

from cudalint import registry
from cudalint.errors import UsageError
from cudalint.records import NamedTuple

# How a rule is on: as a hint it is printed and not counted.
State = str  # "off" | "hint" | "on"


class Selection(NamedTuple):
    """One layer of selectors; `None` says that the layer does not set the list."""

    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    fixable: tuple[str, ...] | None = None
    unfixable: tuple[str, ...] = ()
    extend_fixable: tuple[str, ...] = ()


def is_exact(selector: str) -> bool:
    """Whether a selector names one rule rather than a group."""
    return selector.upper() in registry.by_code() or selector.lower() in registry.by_name()


def _specificity(selector: str) -> int:
    if is_exact(selector):
        return 99
    return 0 if selector.upper() == "ALL" else len(selector)


def verify(selectors: Iterable[str], key: str, origin: str) -> None:
    """Refuse a selector that no rule has, and name the nearest one that some rule has."""
    for selector in selectors:
        if not selector or not registry.find(selector):
            near = nearest(selector)
            raise UsageError(f"unknown rule selector `{selector}` in `{key}` of {origin}{near}")


def nearest(selector: str) -> str:
    """A clause that names the nearest rule, or says where they are listed."""
    from difflib import get_close_matches

    names = list(registry.by_name())
    if selector[:2].upper() == "CU" and "-" not in selector:
        codes = [*registry.by_code(), *registry.FAMILIES]
        match = get_close_matches(selector.upper(), codes, 1, 0.5)
    else:
        match = get_close_matches(selector.lower(), [*names, "all"], 1, 0.5)
    if not match:
        return "; `cudalint rule` lists all rules"
    rule = registry.by_code().get(match[0]) or registry.by_name().get(match[0])
    return f"; did you mean `{match[0] if match[0] != 'all' else 'ALL'}`" + (
        f" ({rule.name if match[0] == rule.code else rule.code})?" if rule else "?"
    )


def resolve(layers: Iterable[Selection], hints: bool) -> dict[str, State]:
    """The state of every rule by its code."""
    state: dict[str, State] = {r.code: "on" if r.on else "off" for r in registry.RULES}
    ignored: set[str] = set()
    for layer in layers:
        updates = _updates((*(layer.select or ()), *layer.extend_select), layer.ignore)
        if layer.select is not None:
            state = dict.fromkeys(state, "off")
        state.update(updates)
        ignored |= {code for code, value in updates.items() if value == "off"}
        ignored -= {code for code, value in updates.items() if value != "off"}
    if hints:
        for rule in registry.RULES:
            if not rule.on and state[rule.code] == "off" and rule.code not in ignored:
                state[rule.code] = "hint"
    return state


def fixable(layers: Iterable[Selection]) -> frozenset[str]:
    """The codes of the rules whose fixes may be offered."""
    allowed = {rule.code for rule in registry.RULES}
    for layer in layers:
        updates = _updates((*(layer.fixable or ()), *layer.extend_fixable), layer.unfixable)
        if layer.fixable is not None:
            allowed = set()
        allowed |= {code for code, value in updates.items() if value != "off"}
        allowed -= {code for code, value in updates.items() if value == "off"}
    return frozenset(allowed)


def named_fixable(layers: Iterable[Selection]) -> frozenset[str]:
    """The codes of the rules whose fixes are asked for by code or name, and not by a prefix."""
    return frozenset(
        rule.code
        for layer in layers
        for selector in (*(layer.fixable or ()), *layer.extend_fixable)
        if is_exact(selector)
        for rule in registry.find(selector)
    )


def _updates(on: tuple[str, ...], off: tuple[str, ...]) -> dict[str, State]:
    """What one layer says, the least specific selectors first."""
    ranked = [(_specificity(s), False, s) for s in on] + [(_specificity(s), True, s) for s in off]
    updates: dict[str, State] = {}
    for specificity, is_off, selector in sorted(ranked):
        for rule in registry.find(selector):
            as_hint = not rule.on and specificity < 99
            updates[rule.code] = "off" if is_off else "hint" if as_hint else "on"
    return updates


def codes(selectors: Iterable[str]) -> frozenset[str]:
    """The codes that selectors stand for."""
    return frozenset(rule.code for s in selectors for rule in registry.find(s))
