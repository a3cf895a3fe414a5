"""`python -m tools.new_rule NAME`: the skeleton of a rule of the catalogue.

Writes the check, the fix and the fixture's `cases.md`, and prints the registry line to add. The
code, default and severity come from `tests/catalogue.txt`, so that a name is never made up.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cudalint.registry import FAMILIES, by_name

ROOT = Path(__file__).resolve().parents[1]

CHECK = '''"""One sentence that says what is wrong.

## What it does
Reports …

## Why is this bad
Which limit it hits (bandwidth, launch, synchronisation, memory) and how hard: expected impact …

## Example
```python
```

## Use instead
```python
```

## Fix safety
…

## References
- …
"""

from __future__ import annotations

from collections.abc import Iterator

from cudalint.facts.python import PythonFacts
from cudalint.model import Finding, Span


def check(facts: PythonFacts) -> Iterator[Finding]:
    for call in facts.calls("NAME"):
        if facts.names.callee(call) != "torch.NAME":
            continue
        yield Finding("{code}", Span(call.start_byte, call.end_byte), "What, and why")
'''

FIX = '''"""What `{name}` is rewritten to."""

from __future__ import annotations

from cudalint.facts.python import PythonFacts
from cudalint.model import Edit, Finding, Patch, Plan, Refusal


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    return Refusal("nothing is proven yet")


def write(plan: Plan) -> Patch:
    return Patch((Edit(plan.finding.span, b""),))
'''

CASES = """# {name}

Firing and silent cases, one block each; marks as in the fixtures.

```python
import torch
```
"""


def main(name: str) -> int:
    """Write the skeletons of one rule; refuse to touch what is there."""
    entry = _entry(name)
    if entry is None:
        print(f"{name}: not a rule of tests/catalogue.txt", file=sys.stderr)
        return 2
    code, default, severity = entry
    if name in by_name():
        print(f"{name}: already in the registry", file=sys.stderr)
        return 2
    family, module = FAMILIES[code[:3]], name.replace("-", "_")
    suffix = ".cu" if family == "cuda" else ".py"
    facts = "cuda.CudaFacts" if family == "cuda" else "python.PythonFacts"
    module_path, kind = f"cudalint.facts.{facts}".rsplit(".", 1)
    check, fix = (
        text.replace("cudalint.facts.python", module_path).replace("PythonFacts", kind)
        for text in (CHECK, FIX)
    )
    files = {
        f"cudalint/checks/{family}/{module}.py": check.replace("{code}", code),
        f"cudalint/fixes/{family}/{module}.py": fix.replace("{name}", name),
        f"fixtures/{name}/cases.md": CASES.replace("{name}", name),
        f"fixtures/{name}/before{suffix}": "",
    }
    for path, text in files.items():
        _write(ROOT / path, text)
    languages, words = ("CU", '(b"__global__",)') if family == "cuda" else ("PY", "TORCH")
    more = ', severity="error"' if severity == "error" else ""
    print("registry line:")
    print(
        f'    Rule("{code}", "{name}", {default == "on"}, {languages}, ({words},), "safe"{more}),'
    )
    return 0


def _entry(name: str) -> tuple[str, str, str] | None:
    for row in (ROOT / "tests" / "catalogue.txt").read_text(encoding="utf-8").splitlines():
        if not row.startswith("#") and row.split()[3] == name:
            code, default, severity, _ = row.split()
            return code, default, severity
    return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    package = path.parent / "__init__.py"
    if path.suffix == ".py" and "fixtures" not in path.parts and not package.exists():
        package.write_text(f'"""The family {path.parent.name}."""\n', encoding="utf-8")
    if path.exists():
        print(f"kept {path.relative_to(ROOT)}")
        return
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.new_rule NAME")
    sys.exit(main(sys.argv[1]))
