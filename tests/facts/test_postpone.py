"""What can be read once, and the reasons why other reads cannot."""

from __future__ import annotations

import textwrap

import pytest

from cudalint.facts.postpone import Postponed, postpone
from tests.facts.asking import facts_of

HEAD = """
import torch
import torch.nn.functional as F
device = torch.device("cuda")
"""
BODY = """
loss = F.mse_loss(model(x.to(device)), y.to(device))
loss.backward()
optimizer.step()
"""


def _program(before: str, inside: str, after: str = "") -> str:
    step = textwrap.indent(BODY.strip("\n") + "\n" + inside, "        ")
    lines = [
        HEAD,
        "def train(model, optimizer, loader):",
        textwrap.indent(before, "    "),
        "    for step, (x, y) in enumerate(loader):",
        step,
        textwrap.indent(after, "    "),
    ]
    return "\n".join(lines) + "\n"


def _proof(text: str) -> Postponed | str:
    facts = facts_of(text)
    (call,) = (c for c in facts.calls("item", "float", "int") if facts.loops.hot(c) is not None)
    word = facts.code(call.children[0]).rpartition(".")[2]
    if word == "item":
        return postpone(facts, call, call.children[0].children[0], "item")
    return postpone(facts, call, facts.names.arguments(call).positional[0], word)


ONCE = {
    "a sum": ("total = 0.0", "total += loss.item()", "return total / 2", "sum float .detach()"),
    "a scaled sum": (
        "total = 0",
        "total += 2 * (loss.item() * len(x))",
        "print(total)",
        "sum float",
    ),
    "spelled out": ("total = 0.", "total = total + loss.item()", "print(total)", "sum float"),
    "a count": ("n = 0", "n += (loss > 1).sum().item()", "return n", "sum int"),
    "two starts": ("n, m = 0, 0.0", "m += loss.item()", "return n, m", "sum float"),
    "one start for two": ("n = m = 0", "m += loss.item()", "return n, m", "sum float"),
    "a count as float": (
        "n = 0.0",
        "n += (loss > 1).sum().item()",
        "return n",
        "sum float .double()",
    ),
    "a cast": ("total = 0", "total += float(loss)", "return total", "sum float"),
    "a count by cast": ("n = 0", "n += int((loss > 1).sum())", "return n", "sum int"),
    "printed now and then": (
        "total = 0.0",
        "total += loss.item()\nif step % 10 == 0:\n    print(total / 10)\n    total = 0.0",
        "",
        "sum float",
    ),
    "a list": ("losses = []", "losses.append(loss.item())", "return sum(losses)", "list"),
    "a list with its length": (
        "l = []",
        "l.append(loss.item())\nprint(len(l))",
        "return l",
        "list",
    ),
    "looked at seldom": (
        "",
        "now = loss.item()\nif step % 5 == 0:\n    print(now)",
        "",
        "name item",
    ),
    "looked at afterwards": ("", "now = loss.item()", "return now", "name item"),
    "looked at as float": ("", "now = float(loss)", "return now", "name float"),
    "changed in place": ("", "now = loss.item()\nloss /= 2", "return now", "name item .clone()"),
    "a view": ("", "now = loss.data.item()", "return now", "name item .clone()"),
}


@pytest.mark.parametrize("name", ONCE)
def test_read_once(name: str) -> None:
    before, inside, after, expected = ONCE[name]
    program = _program(before, inside, after)
    proof = _proof(program)
    assert isinstance(proof, Postponed), proof
    said = f"{proof.kind} {proof.number} {proof.keep}"
    for word in expected.split():
        assert word in said, said


EVERY = {
    "a progress bar": ("", "bar.set_postfix(loss=loss.item())", "", "`bar.set_postfix` is given"),
    "a meter": ("", "meter.update(loss.item(), 4)", "", "`meter.update` is given"),
    "returned": ("", "return loss.item()", "", "leaves the function"),
    "tested": ("", "if loss.item() > 10:\n    skip()", "", "tested every step"),
    "an attribute": ("", "self.total += loss.item()", "", "no local name"),
    "an entry": ("", "stats['loss'] += loss.item()", "", "no local name"),
    "read every step": ("t = 0.0", "t += loss.item()\nprint(t)", "", "read every step"),
    "tested as a sum": (
        "t = 0.0",
        "t += loss.item()\nif t > 9:\n    stop()",
        "",
        "read every step",
    ),
    "starts elsewhere": (
        "t = start()",
        "t += loss.item()",
        "return t",
        "does not start as a number",
    ),
    "no start": ("", "t += loss.item()", "return t", "does not start as a number"),
    "divided in the loop": ("t = 0.0", "t += loss.item()\nt /= 2", "return t", "changed at line"),
    "whole or not": (
        "t = 0",
        "t += model.steps().item()",
        "return t",
        "may be whole or not|tensor",
    ),
    "an exponent": ("t = 0.0", "t += loss.item() ** 2", "return t", "used every step"),
    "inside a call": ("t = 0.0", "t += round(loss.item(), 2)", "return t", "`round` is given"),
    "seen by a function": (
        "t = 0.0\ndef show():\n    print(t)",
        "t += loss.item()",
        "show()",
        "nested function",
    ),
    "global": ("global t\nt = 0.0", "t += loss.item()", "", "another scope"),
    "a list with a start": ("l = [0.0]", "l.append(loss.item())", "return l", "an empty list"),
    "a list that is read": (
        "l = []",
        "l.append(loss.item())\nprint(l[-1])",
        "return l",
        "is used at",
    ),
    "a list in two places": (
        "l = []",
        "l.append(loss.item())\nl.append(0)",
        "return l",
        "is used at",
    ),
    "a list of vectors": ("l = []", "l.append((loss * x).item())", "return l", "have dimensions"),
    "a name for two": ("now = 0", "now = loss.item()", "return now", "another number"),
    "a name read every step": ("", "now = loss.item()\nlog(now)", "", "read every step"),
    "after an exception": (
        "t = 0.0\ntry:\n    pass\nfinally:\n    pass",
        "t += loss.item()",
        "return locals()",
        "not in sight",
    ),
    "truncated": ("t = 0", "t += int(loss)", "return t", "may be whole or not"),
}


@pytest.mark.parametrize("name", EVERY)
def test_needed_every_step(name: str) -> None:
    before, inside, after, expected = EVERY[name]
    proof = _proof(_program(before, inside, after))
    assert isinstance(proof, str), proof
    assert any(part in proof for part in expected.split("|")), proof


def test_a_handler_that_reads_the_sum() -> None:
    text = (
        HEAD
        + """
def train(model, loader):
    total = 0.0
    try:
        for x in loader:
            total += F.mse_loss(model(x.to(device)), x.to(device)).item()
    except KeyboardInterrupt:
        pass
    return total
"""
    )
    assert _proof(text) == "`total` may be read after an exception"


def test_a_loop_in_a_loop_of_steps() -> None:
    text = (
        HEAD
        + """
for x in loader:
    total = 0.0
    for part in x.to(device).split(2):
        loss = F.mse_loss(model(part), part)
        total += loss.item()
        loss.backward()
    print(total)
    optimizer.step()
"""
    )
    assert _proof(text) == "the loop that collects in `total` is in hot code itself"


def test_the_sum_of_all_epochs_is_read_after_them() -> None:
    text = (
        HEAD
        + """
total = 0.0
for epoch in range(3):
    for x in loader:
        total += F.mse_loss(model(x.to(device)), x.to(device)).item()
    print(epoch, total)
print(total)
"""
    )
    proof = _proof(text)
    assert isinstance(proof, Postponed) and proof.after is not None
    assert proof.after.start_point[0] == text.split("\n").index("for epoch in range(3):")
    assert len(proof.reads) == 1
