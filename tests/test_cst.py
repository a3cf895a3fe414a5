"""LibCST as `cudalint.cst` loads it does what it does otherwise."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import dataclasses, inspect, pickle, sys

given = dataclasses.dataclass
if sys.argv[1] == "quick":
    from cudalint.cst import libcst as cst
else:
    import libcst as cst
assert dataclasses.dataclass is given

text = "@a\\nclass A(B):  # c\\n    async def f(self, *x: int, **y) -> [1, 2]:\\n        return x[1:] @ y\\n"
module = cst.parse_module(text)
again, other = cst.parse_module(text), module.deep_clone()
assert module != again and module == module and len({module, again, other}) == 3
assert module.deep_equals(again) and module.deep_equals(other) and other.code == text
assert module.with_changes(footer=[cst.EmptyLine()]).code == text + "\\n"
assert pickle.loads(pickle.dumps(module)).code == text
assert cst.metadata.CodePosition(1, 2) == cst.metadata.CodePosition(1, 2)
print(module)

@dataclasses.dataclass(frozen=True)
class Derived(cst.BaseExpression):
    name: cst.Name

    def _codegen_impl(self, state): ...
    def _visit_and_replace_children(self, visitor): ...

assert Derived(cst.Name("a")).name.value == "a"
for name, kind in sorted(vars(cst).items()):
    if inspect.isclass(kind) and dataclasses.is_dataclass(kind):
        print(name, kind.__mro__, inspect.signature(kind), kind.__match_args__, vars(kind).get("__slots__"))
        absent = dataclasses.MISSING
        print([(field.name, field.default is absent) for field in dataclasses.fields(kind)])
"""


def _said(way: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_nodes_are_the_same() -> None:
    assert _said("quick") == _said("plain")


def test_nodes_of_a_program_that_has_libcst_stay() -> None:
    code = "import libcst; from cudalint.cst import libcst as ours; assert ours is libcst"
    subprocess.run([sys.executable, "-c", code], check=True)
