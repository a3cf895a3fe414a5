"""Many files: the cache, the workers, package facts, broken rules and broken input."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cudalint import package, project, run, sieve
from cudalint.model import PackageFacts, Patch, Plan
from cudalint.package import Bits, bits_of, gather, merge, root_of
from cudalint.reach import Reach, is_within
from cudalint.read import contents
from cudalint.registry import Rule
from cudalint.report import Report, Target
from cudalint.settings import Settings
from tests.engine.toy import SETTINGS, install, replacing

CODE = "import torch\nx.item()\n"


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, replacing("y"))
    root_of.cache_clear()


def tree(folder: Path, **files: str) -> list[Target]:
    made = []
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        old = time.time() - 60
        os.utime(path, (old, old))  # older than what the cache calls racy
        made.append(Target(str(path)))
    return made


def counts(report: Report) -> dict[str, int]:
    return {Path(r.path).stem: len(r.diagnostics) for r in report.results}


def test_results_come_in_order_and_clean_files_say_nothing(tmp_path: Path) -> None:
    targets = tree(tmp_path, b=CODE, c="x = 1\n", a=CODE + "y.item()\n")
    report = run.run(targets, SETTINGS, jobs=1)
    assert counts(report) == {"b": 1, "a": 2} and list(counts(report)) == ["b", "a"]
    assert report.files == 3


def test_workers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = tree(tmp_path, **{f"f{i}": CODE * (i + 1) for i in range(12)})
    alone = run.run(targets, SETTINGS, jobs=1)
    monkeypatch.setattr(run, "ENOUGH_TO_READ", 2)
    monkeypatch.setattr(run, "ENOUGH_TO_CHECK", 2)
    assert run.run(targets, SETTINGS, jobs=2) == alone


def test_a_warm_run_reads_nothing_that_stayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = tree(tmp_path, a=CODE, b="x = 1\n")
    cache = str(tmp_path / "cache")
    cold = run.run(targets, SETTINGS, cache_dir=cache, jobs=1)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a file was read again")

    monkeypatch.setattr(run, "_sift", read)
    monkeypatch.setattr(run, "_work", read)
    assert run.run(targets, SETTINGS, cache_dir=cache, jobs=1) == cold


def test_the_cache_notices_what_changed(tmp_path: Path) -> None:
    targets = tree(tmp_path, a=CODE)
    cache = str(tmp_path / "cache")
    run.run(targets, SETTINGS, cache_dir=cache, jobs=1)
    tree(tmp_path, a=CODE + "z.item()\n")
    assert counts(run.run(targets, SETTINGS, cache_dir=cache, jobs=1)) == {"a": 2}
    os.utime(targets[0].path, (1, 1))  # touched, with the same content
    assert counts(run.run(targets, SETTINGS, cache_dir=cache, jobs=1)) == {"a": 2}
    others = Settings.selecting("CUE002")
    assert counts(run.run(targets, others, cache_dir=cache, jobs=1)) == {}


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    targets = tree(tmp_path, a=CODE)
    cache = tmp_path / "cache"
    expected = run.run(targets, SETTINGS, cache_dir=str(cache), jobs=1)
    (made,) = cache.glob("*.json")
    data = json.loads(made.read_text())
    for damage in ("", "{}", "[]", '{"files": 3, "packages": {}}'):
        made.write_text(damage)
        assert run.run(targets, SETTINGS, cache_dir=str(cache), jobs=1) == expected
    path = targets[0].path
    for entry in (None, [], [1, 2], [*data["files"][path][:5], "x"]):
        made.write_text(json.dumps({"files": {path: entry}, "packages": {}}))
        assert run.run(targets, SETTINGS, cache_dir=str(cache), jobs=1) == expected


def test_the_cache_folder_keeps_out_of_git(tmp_path: Path) -> None:
    run.run(tree(tmp_path, a=CODE), SETTINGS, cache_dir=str(tmp_path / "cache"), jobs=1)
    assert (tmp_path / "cache" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / "cache" / "CACHEDIR.TAG").read_text().startswith("Signature: ")


def test_edits_of_cached_findings_are_those_of_a_fresh_run(tmp_path: Path) -> None:
    targets = tree(tmp_path, a=CODE)
    cache = str(tmp_path / "cache")
    fresh = run.run(targets, SETTINGS, edits="shown", jobs=1)
    for _ in range(2):
        assert run.run(targets, SETTINGS, edits="shown", cache_dir=cache, jobs=1) == fresh
    fix = fresh.results[0].diagnostics[0].fix
    assert fix is not None and fix.edits is not None


def test_a_broken_rule_is_named_and_the_other_files_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(plan: Plan) -> Patch:
        raise RuntimeError("boom")

    install(monkeypatch, write)
    report = run.run(tree(tmp_path, a=CODE, b=CODE), SETTINGS, edits="shown", jobs=1)
    assert counts(report) == {"a": 1, "b": 1}
    assert all("CUS001" in r.errors[0] and "boom" in r.errors[0] for r in report.results)


def test_unreadable_files_say_so(tmp_path: Path) -> None:
    targets = [*tree(tmp_path, a=CODE), Target(str(tmp_path / "gone.py"))]
    report = run.run(targets, SETTINGS, jobs=1)
    assert counts(report) == {"a": 1, "gone": 0}
    assert "cannot be read" in report.results[1].errors[0]


@pytest.mark.parametrize(
    "data",
    [
        b"import torch\ny = " + b"(" * 5000 + b"x.item()" + b")" * 5000 + b"\n",
        b"import torch\ny = " + b"[" * 5000 + b"\nx.item()\n",
        b"import torch\n\0\0\0\nx.item()\n",
        b"import torch\nx.item(",
        b"import torch\ndef f(:\n  x.item()\nclass",
        b"\xff\xfe" + "import torch\nx.item()\n".encode("utf-16-le"),
        b"# coding: no-such-codec\nimport torch\nx.item()\n",
        b"import torch\n'\xff'\nx.item()\n",
        b"import torch\n"
        + b"if x:\n" * 1
        + b"".join(b" " * i + b"if x:\n" for i in range(1, 90))
        + b" " * 90
        + b"x.item()\n",
    ],
)
def test_broken_input_never_breaks_us(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(data)
    good = tree(tmp_path, good=CODE)
    for mode in ("check", "diff", "add-noqa"):
        report = run.run([Target(str(path)), *good], SETTINGS, mode=mode, edits="shown", jobs=1)  # type: ignore[arg-type]
        assert [r for r in report.results if r.path == good[0].path]
        for result in report.results:
            assert not any("failed in its" in error for error in result.errors), result.errors


def test_what_python_itself_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch\ny = " + "(" * 5000 + "x.item()" + ")" * 5000)
    report = run.run([Target(str(tmp_path / "a.py"))], SETTINGS, jobs=1)
    assert report.results[0].errors == ("not checked: brackets nested more than 200 deep",)


def test_annotations_hide_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "import torch\n"
        "x.item()\n"
        "f(\n    x.item(),\n)\n"
        "s = '''\n''' + x.item()\n"
        "y = 1 + \\\n    x.item()\n"
        "z = x.item()  # cudalint: ignore[CUD001]\n"
        "a = x.item() + '''\n'''\n"
    )
    targets = tree(tmp_path, a=text)
    run.run(targets, SETTINGS, mode="add-noqa", jobs=1)
    assert counts(run.run(targets, SETTINGS, jobs=1)) == {}
    written = Path(targets[0].path).read_text()
    assert "ignore[CUD001, CUS001]" in written
    again = run.run(targets, SETTINGS, mode="add-noqa", jobs=1)
    assert not again.results and Path(targets[0].path).read_text() == written


# -- packages -------------------------------------------------------------------------------------


def test_a_package_is_the_topmost_folder_of_a_chain(tmp_path: Path) -> None:
    inner = tmp_path / "lib" / "pkg" / "sub"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    assert root_of(str(inner)) == str(inner.parent)
    assert root_of(str(inner.parent.parent)) == str(inner.parent.parent)


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (b"x.cuda()", Bits(True, False)),
        (b"torch.device('cuda:0')", Bits(True, False)),
        (b"torch.cuda.manual_seed_all(seed)", Bits(True, False)),
        (b"# cuda is nice", Bits()),
        (b"Accelerator()", Bits(True, False)),
        (b"DataLoader(d, pin_memory=True)", Bits(False, True)),
        (b"kw = {'pin_memory': True}", Bits(False, True)),
        (b"DataLoader(d, pin_memory=False)", Bits()),
    ],
)
def test_bits(data: bytes, bits: Bits) -> None:
    assert bits_of(data) == bits


def test_one_file_has_the_package_facts_of_its_tree(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x.cuda()\n")
    assert gather(str(tmp_path)) == merge(str(tmp_path), [Bits(True, False)])
    assert gather(str(tmp_path)) == PackageFacts(names_cuda=True, is_library=True)


def test_named_files_have_the_package_facts_of_their_whole_folder(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("model.cuda()\n")
    named = [target._replace(explicit=True) for target in tree(tmp_path, a=CODE, b=CODE)]
    root = str(tmp_path)
    sifted = [run.Sifted(survives=True) for _ in named]
    assert run._package_facts(named, sifted, None) == {root: PackageFacts(names_cuda=True)}
    walked = [target._replace(explicit=False) for target in named]
    assert run._package_facts(walked, sifted, None) == {root: PackageFacts()}


def test_a_package_that_takes_too_long_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(package, "SECONDS", -1.0)
    assert not gather(str(tmp_path)).complete


def models(tmp_path: Path) -> Path:
    """A package that names no CUDA, in a project."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "__init__.py").touch()
    return folder


def in_project(targets: list[Target], folder: Path) -> bool:
    project._project_of.cache_clear(), project._names_cuda.cache_clear()
    sifted = [run.Sifted(survives=True, bits=bits_of(contents(t.path)[0])) for t in targets]
    return run._package_facts(targets, sifted, None)[str(folder)].project_names_cuda


def test_a_package_that_names_no_cuda_is_asked_with_its_project(tmp_path: Path) -> None:
    folder = models(tmp_path)
    targets = tree(folder, a=CODE)
    (tmp_path / "train.py").write_text("model.cuda()\n")
    assert not in_project(targets, folder), "nothing marks the top of a project"
    (tmp_path / "README.md").touch()
    assert in_project(targets, folder)
    (tmp_path / "train.py").write_text("model.cpu()\n")
    assert not in_project(targets, folder)


def test_a_project_is_the_same_for_one_file_and_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models(tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "data" / "more").mkdir(parents=True)
    (tmp_path / "data" / "more" / "train.py").write_text("model.cuda()\n")
    alone = tree(folder, a=CODE)
    both = [*alone, Target(str(tmp_path / "data" / "more" / "train.py"))]
    for bound, seen in (("FILES", 2), ("ENTRIES", 5)):
        assert in_project(alone, folder) and in_project(both, folder)
        with monkeypatch.context() as patch:
            patch.setattr(project, bound, seen)
            assert not in_project(alone, folder) and not in_project(both, folder), bound


# -- sieve ----------------------------------------------------------------------------------------


WORDS = ((b"one",), (b"two", b"three"))


def rule(*, within: bool, hot: bool = False) -> Rule:
    given = {"words": () if within else WORDS, "within": WORDS if within else ()}
    return Rule("CUS001", "x", True, ("python",), fix=None, hot=hot, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "file", "definition"),
    [
        (b"one two\n", True, True),
        (b"one\n", False, False),
        (b"def f():\n    one\ndef g():\n    two\n", True, False),
        (b"def f():\n    one\n    three\n", True, True),
        (b"one\ndef g():\n    pass\nthree\n", True, True),
        (b"@one\n@x\ndef g():\n    two\n", True, True),
        (b'def g():\n    """\nclass x\n    """\n    one\n    two\n', True, True),
        (b'def g():\n    """\n    one\n    """\n    two\n', False, False),
        (b'x = \'"""\'\n"""one"""\ntwo\n', True, True),
        (b"# one\ntwo\n", False, False),
        (b"class A:\n    def f(self):\n        one\n    def g(self):\n        two\n", True, True),
        (b"async def g():\n    two\nasync def f():\n    one\n", True, False),
        (b"def g():\n    f(\n'one'\n)\n    two\n", True, True),
        (b'def g():\n    """\ndef x():\n"""\n    one\n    two\n', True, True),
    ],
)
def test_words_must_meet(text: bytes, file: bool, definition: bool) -> None:
    assert bool(sieve.survivors(text, [rule(within=False)])) is file
    assert bool(sieve.survivors(text, [rule(within=True)])) is definition


@pytest.mark.parametrize(
    ("text", "survives"),
    [
        (b"def first():\n    one two\n", False),
        (b"def first():\n    one two\n    loss.backward()\n", False),
        (b"def first():\n    one two\n    loss.backward()\n    optimizer.step()\n", True),
        (b"def first():\n    for x in y:\n        one two\n        loss.backward()\n", True),
        (b"for x in y:\n    one two\n    loss.backward()\n", True),
        (
            b"def first():\n    one two\ndef second():\n    while 1:\n        loss.backward()\n",
            False,
        ),
        (
            b"def first():\n    one two\ndef second():\n    while 1:\n        loss.backward(first())\n",
            True,
        ),
        (
            b"def first():\n    one two\ndef third():\n    first()\n"
            b"def second():\n    for x in y:\n        third(x.backward())\n",
            True,
        ),
        (
            b"def step():\n    loss.backward()\ndef first():\n    for x in y:\n        step()\n        one two\n",
            True,
        ),
        (b"def my_step_like():\n    one two\n", True),
        (b"class A:\n    def training_step(self):\n        one two\n", True),
        (b"class A(Module):\n    def forward(self):\n        one two\n", True),
        (b"class A(Function):\n    def forward(ctx):\n        one two\n", False),
        (b"class A:\n    def forward(self):\n        one two\n", False),
        (b"def first(data):\n    one two\ndef main():\n    first(loader)\n", True),
        (
            b"def first():\n    while 1:\n        x = cat([x, p.argmax(-1)])\n        one two\n",
            True,
        ),
    ],
)
def test_hot_rules_need_code_that_hot_code_reaches(
    text: bytes, survives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real reach
    found = sieve.survivors(text, [rule(within=True, hot=True)], ["my_step_like"])
    assert bool(found) is survives


def test_ranges_are_where_code_may_run_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real reach
    text = (
        b"def cold():\n    one\ndef hot():\n    def inner():\n        two\n    three\n"
        b"class A:\n    four\n    def b(self):\n        five\n"
        b"for x in y:\n    hot(x.backward())\n"
    )
    for module in (text, text.replace(b"for x in y:\n    ", b"    for x in y:\n        ")):
        reach = Reach.of(module, ())
        places = range(len(module))
        assert all(reach.runs(at) for at in places if is_within(reach.ranges, at))
        assert 0 < sum(map(reach.runs, places)) < len(module)


def test_what_is_not_understood_is_said_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real rule
    (tmp_path / "a.py").write_bytes(b"# torch\nx = '\xff'\ny = )(\n")
    asked = Settings.selecting("source-not-understood")
    report = run.run([Target(str(tmp_path / "a.py"))], asked, jobs=1)
    messages = [d.message for d in report.results[0].diagnostics]
    assert len(messages) >= 2 and "utf-8" in messages[0] and "Not understood" in messages[1]


def test_a_named_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"import torch\nx = '\xff'\nx.item()\n")
    report = run.run([Target(str(path), explicit=True)], SETTINGS, jobs=1)
    assert "not text in the declared encoding 'utf-8'" in report.results[0].errors[0]
