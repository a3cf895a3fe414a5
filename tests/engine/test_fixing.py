"""Fixes: overlaps, the fixed point, the parse guard, imports, line endings and encodings."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cudalint.fixing import Fixed, fix
from cudalint.model import Edit, Need, Patch, Plan, Span
from cudalint.read import decode, encode
from cudalint.report import Target
from cudalint.rewrite.edits import apply
from cudalint.run import run
from tests.engine.toy import PACKAGE, SETTINGS, Writer, install, replacing, source


def fixed(monkeypatch: pytest.MonkeyPatch, text: str | bytes, write: Writer) -> Fixed:
    install(monkeypatch, write)
    return fix(source(text), SETTINGS.rules, SETTINGS, PACKAGE)


def test_nested_findings_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner call touches the outer one: it waits for the next pass."""

    def write(plan: Plan) -> Patch:
        span = plan.finding.span
        cut = Span(span.end - len(".item()"), span.end)
        return Patch((Edit(cut, b""), Edit(Span(span.start, span.start), b"")))

    done = fixed(monkeypatch, "import torch\ny = f(x.item()).item()\n", write)
    assert done.source.text == b"import torch\ny = f(x)\n"
    assert done.applied["CUS001"] == 2


def test_a_fix_that_breaks_the_syntax_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(plan: Plan) -> Patch:
        bad = plan.facts.text[: plan.finding.span.start].endswith(b"bad = ")
        return Patch((Edit(plan.finding.span, b"((" if bad else b"z"),))

    done = fixed(monkeypatch, "import torch\nbad = x.item()\ngood = x.item()\n", write)
    assert done.source.text == b"import torch\nbad = x.item()\ngood = z\n"
    assert [report.rule.code for report in done.withdrawn] == ["CUE004"]
    assert "CUS001" in done.withdrawn[0].finding.message
    assert done.applied["CUS001"] == 1


def test_a_fix_that_crashes_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(plan: Plan) -> Patch:
        if plan.finding.span.start < 20:
            raise RuntimeError("boom")
        return replacing("z")(plan)

    done = fixed(monkeypatch, "import torch\nx.item()\ny = x.item()\n", write)
    assert done.source.text == b"import torch\nx.item()\ny = z\n"
    assert len(done.errors) == 1 and "CUS001" in done.errors[0] and "boom" in done.errors[0]


def test_a_file_that_did_not_parse_may_not_get_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import torch\ndef f(:\n  y = x.item()\nz = x.item()\n"
    assert b"= y\n" in fixed(monkeypatch, text, replacing("y")).source.text
    assert fixed(monkeypatch, text, replacing("((")).source.text == text.encode()


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_endings_stay(monkeypatch: pytest.MonkeyPatch, newline: str) -> None:
    text = newline.join(["import torch", "y = 1", "x.item()", ""])
    done = fixed(monkeypatch, text, replacing("f(\n    x\n)"))
    assert done.source.text.decode() == newline.join(
        ["import torch", "y = 1", "f(", "    x", ")", ""]
    )


def test_overlapping_edits_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        apply(b"abc", [Edit(Span(0, 2), b""), Edit(Span(1, 3), b"")])


IMPORTS = [
    # (before, after): `softmax(x)` comes from cudalint.kernels, and math may go
    (
        "import torch\nx.item()\n",
        "import torch\nfrom cudalint.kernels import softmax\nsoftmax(x)\n",
    ),
    (
        '"""Doc."""\nfrom __future__ import annotations\nx.item()  # torch\n',
        '"""Doc."""\nfrom __future__ import annotations\nfrom cudalint.kernels import softmax\n'
        "\nsoftmax(x)  # torch\n",
    ),
    (
        "#!/bin/sh\n# A text\nx.item()  # torch\n",
        "#!/bin/sh\n# A text\nfrom cudalint.kernels import softmax\n\nsoftmax(x)  # torch\n",
    ),
    (
        "import os\n\nimport torch\nfrom torch import nn\n\nfrom .a import b\nx.item()\n",
        "import os\n\nimport torch\nfrom cudalint.kernels import softmax\nfrom torch import nn\n\n"
        "from .a import b\nsoftmax(x)\n",
    ),
    (
        "import torch\nfrom cudalint.kernels import attention, softmax\nx.item()\n",
        "import torch\nfrom cudalint.kernels import attention, softmax\nsoftmax(x)\n",
    ),
    (
        "import torch\nfrom cudalint.kernels import attention, swiglu\nx.item()\n",
        "import torch\nfrom cudalint.kernels import attention, softmax, swiglu\nsoftmax(x)\n",
    ),
    (
        "import torch\nfrom cudalint.kernels import softmax as sm\nx.item()\n",
        "import torch\nfrom cudalint.kernels import softmax as sm\nsm(x)\n",
    ),
    (
        "import torch\ndef softmax(x): pass\nx.item()\n",
        "import torch\nfrom cudalint.kernels import softmax as cudalint_softmax\n"
        "def softmax(x): pass\ncudalint_softmax(x)\n",
    ),
    (
        "import math\nimport torch\nx.item()\n",
        "import torch\nfrom cudalint.kernels import softmax\nsoftmax(x)\n",
    ),
    (
        "import math\nimport torch\nx.item() + math.pi\n",
        "import math\nimport torch\nfrom cudalint.kernels import softmax\nsoftmax(x) + math.pi\n",
    ),
    (
        "import math  # noqa: F401\nimport torch\nx.item()\n",
        "import math  # noqa: F401\nimport torch\nfrom cudalint.kernels import softmax\nsoftmax(x)\n",
    ),
    (
        "import math, os\nimport torch\nx.item() + os.sep\n",
        "import os\nimport torch\nfrom cudalint.kernels import softmax\nsoftmax(x) + os.sep\n",
    ),
    (
        "import os, math\nimport torch\nx.item() + os.sep  # math\n",
        "import os\nimport torch\nfrom cudalint.kernels import softmax\nsoftmax(x) + os.sep  # math\n",
    ),
]


@pytest.mark.parametrize(("before", "after"), IMPORTS)
def test_imports(monkeypatch: pytest.MonkeyPatch, before: str, after: str) -> None:
    def write(plan: Plan) -> Patch:
        spelling, need = plan.facts.names.need("cudalint.kernels", "softmax")  # type: ignore[attr-defined]
        edit = Edit(plan.finding.span, f"{spelling}(x)".encode())
        return Patch((edit,), frozenset({need}), frozenset({"math"}))

    assert fixed(monkeypatch, before, write).source.text.decode() == after


def test_plain_module_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(plan: Plan) -> Patch:
        return Patch((Edit(plan.finding.span, b"torch.x"),), frozenset({Need("torch", "")}))

    done = fixed(monkeypatch, "import torchvision\nx.item()\n", write)
    assert done.source.text == b"import torch\nimport torchvision\ntorch.x\n"


@pytest.mark.parametrize(
    ("head", "encoding", "bom"),
    [
        (b"", "utf-8", b""),
        (b"", "utf-8", b"\xef\xbb\xbf"),
        (b"# -*- coding: latin-1 -*-\n", "latin-1", b""),
        (b"", "utf-16-le", b"\xff\xfe"),
    ],
)
def test_files_keep_encoding_mark_and_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, head: bytes, encoding: str, bom: bytes
) -> None:
    install(monkeypatch, replacing("y"))
    path = tmp_path / "a.py"
    text = head.decode() + "import torch\ns = 'é'\nx.item()\n"
    path.write_bytes(bom + text.encode(encoding))
    path.chmod(0o755)
    report = run([Target(str(path))], SETTINGS, mode="fix", jobs=1)
    assert report.results[0].fixed == {"CUS001": 1}
    assert path.read_bytes() == bom + text.replace("x.item()", "y").encode(encoding)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.py"]


def test_a_link_keeps_pointing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, replacing("y"))
    real, link = tmp_path / "real.py", tmp_path / "link.py"
    real.write_text("import torch\nx.item()\n")
    link.symlink_to(real)
    run([Target(str(link))], SETTINGS, mode="fix", jobs=1)
    assert link.is_symlink() and real.read_text() == "import torch\ny\n"


def test_undecodable_files_are_checked_and_never_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, replacing("y"))
    path = tmp_path / "a.py"
    data = b"import torch\ns = '\xff'\nx.item()\n"
    path.write_bytes(data)
    report = run([Target(str(path))], SETTINGS, mode="fix", jobs=1)
    assert [d.code for d in report.results[0].diagnostics] == ["CUS001"]
    assert path.read_bytes() == data


def test_decode_and_encode_are_inverse() -> None:
    for data in (b"a\r\nb", b"\xef\xbb\xbfa", b"# coding: cp1252\n\x80\n"):
        made = decode("a.py", data, "python")
        assert made.problem is None
        assert encode(made, made.text) == data
