"""Globs with ruff's meaning."""

from __future__ import annotations

import pytest

from cudalint.globs import Matcher, Pattern


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("dist", "/p/dist", True),
        ("dist", "/p/a/dist", True),
        ("dist", "/p/distant", False),
        ("*.cu", "/p/a/b.cu", True),
        ("a/*.py", "/p/a/b.py", True),
        ("a/*.py", "/p/a/deep/b.py", True),  # a star crosses folders, as in ruff
        ("a/*.py", "/p/b/a/b.py", False),
        ("**/x.py", "/p/x.py", True),
        ("**/x.py", "/p/a/b/x.py", True),
        ("a/**/x.py", "/p/a/x.py", True),
        ("a/**", "/p/a/b/c.py", True),
        ("./a/b.py", "/p/a/b.py", True),
        ("../q/b.py", "/q/b.py", True),
        ("/q/*.py", "/q/b.py", True),
        ("a/", "/p/a", True),
        ("{a,b}.py", "/p/b.py", True),
        ("{a,b{c,d}}/x.py", "/p/bd/x.py", True),
        ("[ab].py", "/p/a.py", True),
        ("[!ab].py", "/p/a.py", False),
        ("a?.py", "/p/ab.py", True),
        ("a+(b).py", "/p/a+(b).py", True),
        ("[", "/p/[", True),
        ("{a", "/p/a", True),
    ],
)
def test_patterns(glob: str, path: str, expected: bool) -> None:
    matches = Matcher((Pattern(glob, "/p"),))
    assert matches(path, path.rpartition("/")[2]) is expected


def test_the_root_is_no_glob() -> None:
    assert Matcher((Pattern("a/b.py", "/p[1]"),))("/p[1]/a/b.py", "b.py")
