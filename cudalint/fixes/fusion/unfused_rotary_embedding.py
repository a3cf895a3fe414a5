"""Writes `apply_rope(q, k, cos, sin)`, or `rope` for a single tensor, where the rotation stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.halves import narrowed
from cudalint.facts.graph.patterns.rotary_pairs import Option, Rotation
from cudalint.facts.graph.patterns.rotary_stages import Stage, Tables, Turn
from cudalint.facts.graph.pool import is_number, number
from cudalint.facts.graph.unfit import Unfit
from cudalint.facts.graph.values import META, Use
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._order import swaps
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.consume import Consumption
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.graph.values import Graph, Value
    from cudalint.facts.python import PythonFacts

_VIEWS = frozenset({"unsqueeze", "index", "view", "expand", "to_device", "slice", "reshape"})


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Rotation = finding.captures["rotation"]
    target = kernel(facts, "apply_rope" if len(found.turns) > 1 else "rope")
    if target is None:
        return Refusal("torch has no such function")
    reason = next((text for turn in found.turns if (text := _misfit(turn))), None)
    if reason is not None:
        return Refusal(reason)
    refused: Refusal | None = None
    for option in found.options:
        for wide in (False, True):
            made = _planned(finding, facts, target, found, option, wide)
            if isinstance(made, Plan):
                return made
            refused = refused or made
    return refused or Refusal("its result has no place")


def write(plan: Plan) -> Patch:
    return patched(plan)


def _misfit(turn: Turn) -> str | None:
    """What the fused function would compute differently."""
    if turn.used:
        return "an intermediate value is used elsewhere"
    if turn.reordered:
        return "the pairs are put back in another order than they were taken"
    if not turn.sure:
        return "the halves may be of two lengths"
    return None


def _planned(
    finding: Finding,
    facts: PythonFacts,
    target: Kernel,
    found: Rotation,
    option: Option,
    wide: bool,
) -> Plan | Refusal:
    result = option.stages[-1].result
    consumed = _consumed(found, option)
    graph = facts.graphs.of(finding.captures["function"])
    return planned(
        finding,
        facts,
        target,
        result,
        consumed,
        list(_reads(graph, consumed, option)),
        lambda render: _text(target, found, option, wide, render),
        lambda: _is_exact(found, option),
        helpers=True,
        adjust=lambda place: _adjust(place, option),
    )


def _consumed(found: Rotation, option: Option) -> dict[int, Value]:
    """What goes: up to these results, and neither the tensors that are given nor what is above."""
    kept = {stage.x.id for stage in option.stages}
    for turn, stage in zip(found.turns, option.stages, strict=True):
        above = turn.stages[turn.stages.index(stage) + 1 :]
        kept.update(v.id for later in above for v in (*later.passed, later.result))
        kept -= {v.id for v in (*stage.passed, stage.result)}
    return {key: value for key, value in found.consumed.items() if key not in kept}


def _reads(graph: Graph, consumed: dict[int, Value], option: Option) -> Iterator[Use]:
    """Headers that are read in the function itself: these reads must go as well."""
    results = {stage.result.id for stage in option.stages}
    for value in consumed.values():
        for use in graph.uses(value) if value.id not in results else ():
            if use.user is not None and use.user.op in META and use.user.site is None:
                yield use


def _adjust(place: Consumption, option: Option) -> None:
    if option.place is not None:
        place.expression = option.place.node
        if option.place.first is not None:
            place.rebound.add(option.place.first.id)


def _text(target: Kernel, found: Rotation, option: Option, wide: bool, render: Renderer) -> str:
    given = [
        _given(turn, stage, wide, render)
        for turn, stage in zip(found.turns, option.stages, strict=True)
    ]
    turn, stage = found.turns[0], option.stages[0]
    given += _tables(turn.tables, render)
    given += ['layout="interleaved"'] if turn.layout == "interleaved" else []
    given += ['table="half"'] if turn.tables.form != "full" else []
    if stage.dtype is not None:
        given.append(f"dtype={_dtype(stage.dtype, render)}")
    elif stage.like is not None:
        given.append(f"dtype={render.atom(stage.like)}.dtype")
    made = call(render.facts, render.expression, target.spelling, given)
    names = option.place.names if option.place is not None else ()
    return f"{', '.join(names)} = {made}" if names else made


def _given(turn: Turn, stage: Stage, wide: bool, render: Renderer) -> str:
    """The tensor that is turned: before its casts, where the result is cast back."""
    if stage.x is not turn.x:
        if turn.upcast and stage.dtype is None:
            raise Unfit("it is computed in float32")
        return render.text(stage.x)
    if turn.upcast and (wide or (stage.dtype is None and stage.like is None)):
        if turn.wide is None:
            raise Unfit("it is computed in float32")
        return render.text(turn.wide)
    return render.text(turn.x)


def _tables(tables: Tables, render: Renderer) -> list[str]:
    if tables.form == "complex":
        angles = render.atom(tables.cos[0])
        return [f"{angles}.real", f"{angles}.imag"]
    if any(swaps(render, cos, sin) for cos in tables.cos for sin in tables.sin):
        raise Unfit("the tables would be computed in another order")
    sin = _product(tables.sin, render)
    if tables.opposite:
        sin = f"-{render.atom(tables.sin[0]) if len(tables.sin) == 1 else f'({sin})'}"
    return [_product(tables.cos, render), sin]


def _product(factors: tuple[Value, ...], render: Renderer) -> str:
    if len(factors) == 1:
        return render.text(factors[0])
    return " * ".join(render.atom(factor) for factor in factors)


def _dtype(cast: Value, render: Renderer) -> str:
    dtype = cast.operands[1]
    name = render.name(dtype)
    if name is not None or dtype.op != "dtype":
        return name or render.text(dtype)
    return f"{render.atom(dtype.operands[0])}.dtype"


def _is_exact(found: Rotation, option: Option) -> bool:
    """Whether the result's dtype and the place of its last dim are read from the file."""
    if option.own or any(_guesses(value) for value in found.consumed.values()):
        return False
    turn, stage = found.turns[0], option.stages[0]
    cast = stage.dtype is not None or stage.like is not None
    return cast or _is_cast_to(turn.tables.cos[0], turn.x)


def _guesses(value: Value) -> bool:
    """`cat(…, 3)`, `flatten(3)` of a tensor whose rank is not known."""
    dims = [operand for operand in value.operands[1:] if is_number(operand)]
    if value.op not in ("torch.cat", "torch.stack", "torch.flatten") or not dims:
        return False
    return number(dims[0]) > 0 and value.operands[0].rank is None


def _is_cast_to(table: Value, x: Value) -> bool:
    """Whether the cosines are cast to the dtype of what they turn."""
    while table.op in _VIEWS and table.operands:
        table = table.operands[0]
    if table.op != "cast" or len(table.operands) < 2 or table.operands[1].op != "dtype":
        return False
    return narrowed(table.operands[1].operands[0])[0] is x
