"""CUDA sources in the strings of Python files are checked where they stand, and never rewritten."""

from __future__ import annotations

import pytest

from cudalint import engine
from cudalint.diagnostics import diagnostics
from cudalint.fixing import fix
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings

KERNEL = """
__global__ void add_one(const float* x, float* y, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) y[i] = x[i] + 1.0f;%s
}
"""
SETTINGS = Settings.selecting("CUK001", "CUE002", unsafe_fixes=True)


def rows(text: str) -> list[tuple[int, str]]:
    source = Source("a.py", text.encode())
    analysis = engine.analyse(source, SETTINGS.rules, SETTINGS, PackageFacts())
    assert not analysis.errors
    made = diagnostics(analysis, SETTINGS, edits=True)
    assert all(d.fix is None and "not rewritten" in d.message for d in made)
    return [(d.start.row, d.code) for d in made]


@pytest.mark.parametrize(
    "text",
    [
        'import cupy\nk = cupy.RawKernel(r"""%s""", "add_one")\n',
        'from torch.utils.cpp_extension import load_inline\nsource = """%s"""\n',
        "from pycuda.compiler import SourceModule\nm = SourceModule('''%s''')\n",
    ],
)
def test_sources_in_strings(text: str) -> None:
    assert rows(text % (KERNEL % "")) == [(5, "CUK001")]


@pytest.mark.parametrize(
    "text",
    [
        'print(r"""%s""")\n',  # nothing compiles it
        'import cupy\nk = cupy.RawKernel(f"""%s""", "add_one")\n',  # a template
        'import cupy\n# """%s"""\n'.replace("%s", "__global__ void f(float* x) {"),
    ],
)
def test_texts_that_are_no_sources(text: str) -> None:
    assert rows(text.replace("%s", KERNEL % "")) == []


def test_suppressions_inside_the_string_count() -> None:
    text = 'import cupy\nk = cupy.RawKernel(r"""%s""", "add_one")\n'
    assert rows(text % (KERNEL % "  // NOLINT(CUK001)")) == []


def test_nothing_is_rewritten() -> None:
    text = 'import cupy\nk = cupy.RawKernel(r"""%s""", "add_one")\n' % (KERNEL % "")
    done = fix(Source("a.py", text.encode()), SETTINGS.rules, SETTINGS, PackageFacts())
    assert done.source.text.decode() == text
