"""Suppressions: what they cover, what they hide, which are of no use, and their fixes."""

from __future__ import annotations

import pytest

from cudalint import engine
from cudalint.diagnostics import diagnostics
from cudalint.fixing import fix
from cudalint.model import Source
from tests.engine.toy import PACKAGE, SETTINGS, install, replacing, source

HEAD = "import torch\n"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, replacing("y"))


def codes(text: str) -> list[tuple[int, str]]:
    at = source(HEAD + text)
    analysis = engine.analyse(at, SETTINGS.rules, SETTINGS, PACKAGE)
    return [(d.start.row - 1, d.code) for d in diagnostics(analysis, SETTINGS, edits=False)]


@pytest.mark.parametrize(
    "text",
    [
        "x.item()  # noqa\n",
        "x.item()  # NOQA\n",
        "x.item()  # noqa: CUS001\n",
        "x.item()  # noqa:cus001\n",
        "x.item()  # noqa: E501 CUS001\n",
        "x.item()  # noqa: CUS because it is logged once\n",
        "x.item()  # type: ignore  # noqa: CUS001\n",
        "x.item()  # noqa: item-in-step-loop\n",
        "x.item()  # cudalint: ignore[CUS001]\n",
        "x.item()  # cudalint: ignore[CUD001, CUS001]\n",
        "x.item()  # cudalint: ignore[Item-In-Step-Loop] why\n",
        "x.item()  # cudalint: ignore\n",
        "# cudalint: ignore[CUS001]\nx.item()\n",
        "# cudalint: ignore[CUS001]\n\nf(\n    x.item(),\n)\n",
        "f(  # noqa: CUS001\n    1,\n    x.item(),\n)\n",
        "f(\n    1,\n    x.item(),\n)  # noqa: CUS001\n",
        "f(\n    x.item(),  # noqa: CUS001\n    2,\n)\n",
        "if x.item():  # noqa: CUS001\n    pass\n",
        "@f(x.item())  # noqa: CUS001\ndef g():\n    pass\n",
        "y = 1\n# cudalint: file-ignore[CUS001]\nx.item()\n",
        "s = '''\n''' + x.item()  # noqa: CUS001\n",
    ],
)
def test_hides(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("x.item()  # noqa: E501\n", 1),
        ("x.item()  # cudalint: ignore[CUD001]\n", 1),
        ("s = '# noqa: CUS001'; x.item()\n", 1),
        ("f(\n    x.item(),\n    2,  # noqa: E501\n)\n", 2),
        ("for i in y:  # noqa: E501\n    x.item()\n", 2),
        ("if y:  # noqa\n    x.item()\n", 2),
        ('"""\n# cudalint: file-ignore[CUS001]\n"""\nx.item()\n', 4),
    ],
)
def test_does_not_hide(text: str, row: int) -> None:
    assert codes(text) == [(row, "CUS001")]


def test_a_header_comment_covers_the_header_only() -> None:
    assert codes("while x.item():  # noqa: CUS001\n    x.item()\n") == [(2, "CUS001")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = 1  # noqa: CUS001\n", "y = 1\n"),
        ("y = 1  # noqa: CUS001, E501\n", "y = 1  # noqa: E501\n"),
        ("y = 1  # noqa: E501,CUS001 long\n", "y = 1  # noqa: E501 long\n"),
        ("y = 1  # noqa: CUS001 the reason\n", "y = 1  # the reason\n"),
        ("y = 1  # cudalint: ignore[CUS001]\n", "y = 1\n"),
        ("y = 1  # cudalint: ignore[CUS001] - the reason\n", "y = 1  # the reason\n"),
        ("# cudalint: ignore[CUS001]\ny = 1\n", "y = 1\n"),
        ("y = 1  # type: ignore  # noqa: CUS001\n", "y = 1  # type: ignore\n"),
        ("y = 1  # cudalint: ignore[CUS001, CUS]\n", "y = 1\n"),
        (
            "x.item()  # noqa: CUS001, item-in-step-loop\n",
            "x.item()  # noqa: CUS001, item-in-step-loop\n",
        ),
        ("y = 1  # cudalint: ignore[CUS01]\n", "y = 1\n"),
    ],
)
def test_unused_ones_go(before: str, after: str) -> None:
    done = fix(source(HEAD + before), SETTINGS.rules, SETTINGS, PACKAGE)
    assert done.source.text.decode() == HEAD + after


@pytest.mark.parametrize(
    "text",
    [
        "y = 1  # noqa\n",
        "y = 1  # noqa: E501\n",
        "y = 1  # noqa: CUD001\n",  # not selected in this run
        "s = '# noqa: CUS001'\n",
    ],
)
def test_never_reported_as_unused(text: str) -> None:
    assert codes(text) == []


def test_unknown_codes_name_the_one_near() -> None:
    analysis = engine.analyse(
        source("y = 1  # cudalint: ignore[CUS0O1, CUZ999, no-such-rule]\n"),
        SETTINGS.rules,
        SETTINGS,
        PACKAGE,
    )
    made = diagnostics(analysis, SETTINGS, edits=True)
    assert [d.code for d in made] == ["CUE003"] * 3
    assert "did you mean `CUS001`" in made[0].message
    assert made[0].fix is not None and made[1].fix is None and made[2].fix is None


CUDA = "__global__ void k() {}\nvoid f() {\n%s}\n"


def cuda_rows(body: str) -> list[int]:
    """The rows of `f` that a suppression of CUK007 covers, by asking for each."""
    from cudalint.engine import facts_of
    from cudalint.registry import by_code
    from cudalint.suppress import suppressions

    text = (CUDA % body).encode()
    at = Source("a.cu", text, "cuda")
    found = suppressions(facts_of(at, SETTINGS, PACKAGE))
    rule = by_code()["CUK007"]
    rows = range(text.count(b"\n"))
    return [row - 1 for row in rows if any(s.hides(rule, row) for s in found)]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("  k<<<1, 1>>>();  // NOLINT\n", [1]),
        ("  k<<<1, 1>>>();  // NOLINT(CUK007)\n", [1]),
        ("  k<<<1, 1>>>();  // NOLINT(bugprone-x, CUK)\n", [1]),
        ("  k<<<1, 1>>>();  // NOLINT(bugprone-x)\n", []),
        ("  // NOLINTNEXTLINE(CUK007)\n  k<<<1, 1>>>();\n", [2]),
        ("  // NOLINTBEGIN(CUK007)\n  k<<<1, 1>>>();\n  // NOLINTEND(CUK007)\n  g();\n", [1, 2, 3]),
        ("  // cudalint: ignore[unchecked-launch]\n  k<<<1, 1>>>(\n      1);\n", [2, 3]),
        ("  k<<<1, 1>>>(\n      1);  // cudalint: ignore[CUK007]\n", [1, 2]),
        ('  g("// NOLINT(CUK007)");\n', []),
    ],
)
def test_cuda_forms(body: str, rows: list[int]) -> None:
    assert cuda_rows(body) == rows
