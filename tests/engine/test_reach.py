"""Where code may run every step, read off names and rows."""

from __future__ import annotations

import pytest

from cudalint.bases import Bases
from cudalint.loops import Loops
from cudalint.reach import Reach, is_within

HOT, COLD = b"HOT", b"COLD"

TEXTS = {
    "a loop with a marker, and not the rest of its function": b"""
def train(model):
    COLD()
    for step in range(10):
        HOT(loss.backward())
    COLD()
""",
    "what the loop calls": b"""
def one():
    HOT()
def two():
    COLD()
def train():
    for step in range(10):
        one()
        loss.backward()
    two()
""",
    "a step of its own, called in a loop": b"""
def step():
    loss.backward()
def train():
    COLD()
    while go:
        HOT(step())
""",
    "a marker in a loop says nothing of who calls": b"""
def epoch():
    for batch in data:
        HOT(loss.backward())
def train():
    for n in range(3):
        COLD(epoch())
""",
    "loops over the parts of a step": b"""
def step():
    for opt in optimizers:
        opt.step()
def train():
    for batch in data:
        HOT(step())
""",
    "methods are called behind a dot": b"""
class A:
    def size(self):
        COLD()
    def run(self):
        HOT()
def get():
    COLD()
def train(self, size):
    for x in y:
        f(size, self.run(), self.get())
        loss.backward()
""",
    "without gradients every loop of the function": b"""
def evaluate():
    with torch.no_grad():
        for x in y:
            HOT()
    COLD()
""",
    "code behind an inner function": b"""
def train():
    for x in y:
        def inner():
            return 1
        HOT(loss.backward())
""",
    "rows of strings and brackets end no loop": b'''
def train():
    for x in y:
        print("""
no end
""")
        f(a,
    b)
        HOT(loss.backward())
    COLD()
''',
    "the else of a loop belongs to it": b"""
def train():
    for x in y:
        HOT()
    else:
        loss.backward()
    COLD()
""",
    "the forward of a module": b"""
class A(nn.Module):
    def forward(self, x):
        HOT()
class B:
    def forward(self, x):
        COLD()
""",
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_may_run_every_step(name: str) -> None:
    text = TEXTS[name]
    reach = Reach.of(text, ())
    for word, runs in ((HOT, True), (COLD, False)):
        at = text.find(word)
        while at >= 0:
            assert is_within(reach.ranges, at) is runs, text[at : at + 20]
            at = text.find(word, at + 1)


@pytest.mark.parametrize(
    ("text", "is_module"),
    [
        (b"class A(nn.Linear):", True),
        (b"class A(Base):", False),
        (b"class A(Base):\nclass Base(Node):", False),
        (b"class A(Base):\nclass Base(Module):", True),
        (b"from torch.nn import Linear\nclass A(Linear):", True),
        (b"from b import Layer as Base\nclass A(Base):", True),
        (b"Base = nn.Module\nclass A(Base):", True),
        (b"class A(MyModel):", True),
        (b"class A(torch.autograd.Function):", False),
        (b"class A(A):", False),
        (b"class A:", False),
    ],
)
def test_classes_that_may_be_modules(text: bytes, is_module: bool) -> None:
    assert Bases(text).may_be_module(b"A") is is_module


def test_loops_stand_in_each_other() -> None:
    text = b"for a in b:\n    while c:\n        d\n    e\nfor p in params: f\ng\n"
    loops = Loops(text, [0, text.find(b"while"), text.find(b"for p")])
    assert [len(list(loops.around(text.find(b"\n", at) - 1))) for at in (0, 12, 28, 40)] == [
        1,
        2,
        2,
        1,
    ]
    assert [loop.parts for loop in loops.all] == [False, False, True]
    assert list(loops.around(len(text) - 1)) == []
