"""The value graph on real code: time a function, what ends opaque and why, attentions found.

    python -m benchmarks.value_graph PATH…

Reads every function under the paths whose bytes hold `oftmax` and a spelling of a matrix product.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cudalint.facts.graph import Graph, Value
from cudalint.facts.graph.patterns.attention import attentions
from cudalint.facts.python import PythonFacts
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings

if TYPE_CHECKING:
    from tree_sitter import Node

PRODUCTS = (b"matmul", b"@", b"bmm", b"einsum")
# The running value of these is their first operand.
PASSING = frozenset(
    {"cast", "masked_fill", "view", "permute", "transpose", "dropout", "add", "mul", "where"}
    | {"softmax", "clamp", "detach", "to_device", "index", "phi", "tanh", "unsqueeze", "expand"}
)
KNOWN = frozenset({"input", "matmul", "einsum", "linear", "module", "const", "size"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--slowest", type=int, default=5, help="functions to list")
    options = parser.parse_args()
    times: list[tuple[float, str]] = []
    reasons: Counter[str] = Counter()
    found = functions = 0
    for facts in _files(options.paths):
        for function in _functions(facts):
            start = time.process_time()
            graph = facts.graphs.of(function)
            place = f"{facts.source.path}:{function.start_point.row + 1}"
            times.append((time.process_time() - start, place))
            functions += 1
            reasons[_ends(graph)] += 1
            found += sum(1 for _ in attentions(graph))
    _report(times, reasons, found, options.slowest)


def _files(paths: list[Path]) -> Iterator[PythonFacts]:
    for root in paths:
        for path in sorted(root.rglob("*.py")):
            text = path.read_bytes()
            if b"oftmax" in text and any(word in text for word in PRODUCTS):
                source = Source(str(path.relative_to(root.parent)), text)
                facts = PythonFacts(source, Settings(), PackageFacts())
                _ = facts.root  # parsing is timed elsewhere
                yield facts


def _functions(facts: PythonFacts) -> Iterator[Node]:
    stack = [facts.root]
    while stack:
        node = stack.pop()
        stack.extend(reversed(node.named_children))
        if node.type == "function_definition":
            text = facts.text[node.start_byte : node.end_byte]
            if b"oftmax" in text and any(word in text for word in PRODUCTS):
                yield node


def _ends(graph: Graph) -> str:
    """Why nothing is known of what some softmax is taken of; "known" where something is."""
    if graph.opaque is not None:
        return graph.opaque
    softmaxes = list(graph.of("softmax"))
    if not softmaxes:
        return "no softmax of torch"
    ends = [end for softmax in softmaxes for end in _sources(softmax)]
    unknown = [end for end in ends if end != "known"]
    if len(unknown) < len(ends):
        return "known"
    return unknown[0] if unknown else "other operation"


def _sources(value: Value) -> Iterator[str]:
    stack, seen = [value], set()
    while stack:
        at = stack.pop()
        if at.id in seen:
            continue
        seen.add(at.id)
        if at.op == "phi":
            stack.extend(at.operands[1:])
        elif at.op in ("add", "mul", "where"):
            stack.extend(at.operands)
        elif at.op in PASSING:
            stack.append(at.operands[0])
        elif at.op in KNOWN or at.op.startswith("torch."):
            yield "known"
        elif at.op == "opaque":
            yield str(at.attrs[0])
        elif at.op in ("call", "self"):
            yield {"call": "unknown call", "self": "self"}[at.op]


def _report(
    times: list[tuple[float, str]], reasons: Counter[str], found: int, slowest: int
) -> None:
    spent = sorted(seconds for seconds, _ in times)
    print(f"functions            {len(times)}")
    print(f"median               {statistics.median(spent) * 1e6:.0f} µs")
    print(f"90 in 100 under      {spent[len(spent) * 9 // 10] * 1e6:.0f} µs")
    print(f"slowest              {spent[-1] * 1e3:.1f} ms")
    print(f"all together         {sum(spent):.2f} s")
    print(f"attentions found     {found}")
    for reason, count in reasons.most_common():
        print(f"  {reason:<20} {count:>5}  {100 * count / len(times):.1f} %")
    for seconds, place in sorted(times, reverse=True)[:slowest]:
        print(f"  {seconds * 1e3:6.1f} ms  {place}")


if __name__ == "__main__":
    main()
