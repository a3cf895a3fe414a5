"""The program as a process: exit codes, pipes, interrupts, and what start-up may load."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.program import program
from tests.cli.conftest import SCALER, SELECT

COMMAND = [sys.executable, "-m", "cudalint"]
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def cudalint(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT, **more
    )


def _heed_interrupts() -> None:
    """A shell starts background jobs with interrupts ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_exit_codes(folder: Path) -> None:
    assert cudalint("check", *SELECT).returncode == 1
    assert cudalint("fix", *SELECT).returncode == 0
    assert cudalint("check", *SELECT).returncode == 0
    assert cudalint("check", "--nope").returncode == 2


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number}.py").write_text(SCALER)
    process = subprocess.Popen(
        [*COMMAND, "check", *SELECT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


def test_an_interrupt_exits_with_130_and_says_nothing(folder: Path) -> None:
    program = (
        "import cudalint.run, time, sys\n"
        "cudalint.run.run = lambda *a, **k: (print('ready', flush=True), time.sleep(30))\n"
        "from cudalint.__main__ import main\n"
        "sys.argv[1:] = ['check', '--isolated']\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=_heed_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=10)
    assert process.returncode == 130 and messages == b""


def test_an_interrupt_stops_the_workers_quietly(folder: Path) -> None:
    source = SCALER + "".join(f"def f{n}(x):\n    return x.{'a.' * 50}b\n" for n in range(2000))
    for number in range(120):
        (folder / f"{number}.py").write_text(source)
    process = subprocess.Popen(
        [*COMMAND, "check", "--isolated", "-n", "-q", "-j2", "--output-format=concise"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )
    time.sleep(1.5)
    if process.poll() is not None:
        pytest.skip("done before it could be interrupted")
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches every process
    _, messages = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in messages


def test_output_is_utf8_whatever_the_locale_says(folder: Path) -> None:
    (folder / "é.py").write_text(SCALER)
    bare = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for words in (["check", *SELECT, "--output-format=concise"], ["rule"], ["config"]):
        done = subprocess.run([*COMMAND, *words], capture_output=True, env=bare)
        assert done.returncode in (0, 1) and b"Traceback" not in done.stderr
        done.stdout.decode("utf-8")


def test_on_a_terminal_there_are_colours(folder: Path) -> None:
    parent, child = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    for name in ("NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [*COMMAND, "check", *SELECT], stdout=child, stderr=subprocess.PIPE, env=environment
    )
    output = os.read(parent, 65536)
    process.wait()
    os.close(child)
    os.close(parent)
    assert b"\x1b[1;93mCUP003\x1b[0m" in output


# Each of these costs more than the rest of start-up together, or has no place in it.
HEAVY = ("torch", "libcst", "rich", "numpy", "pathspec", "tomllib", "tomli", "asyncio")
# What a run on one file, its findings and what is known of their fixes have no need of.
UNUSED = (
    *("click", "dataclasses", "inspect", "ast", "tokenize", "importlib.resources", "tempfile"),
    *("shutil", "pathlib", "random", "hashlib", "msgspec", "json", "logging", "multiprocessing"),
    *("subprocess", "threading", "datetime", "tree_sitter_cuda", "tree_sitter_python"),
    *("cudalint.cli", "cudalint.cache", "cudalint.facts.cuda", "cudalint.facts.graph.builder"),
    *("cudalint.rewrite", "cudalint.ignore", "cudalint.kernels"),
)
CONCISE = ("--output-format", "concise")


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--version"], ("re", "typing", "click", "cudalint.commands.check")),
        (["check", "plain.py"], ("click", "tree_sitter", "multiprocessing", "cudalint.ignore")),
        (["check", "plain.py", "--isolated", "-n"], ("click", "tree_sitter", "cudalint.options")),
        (["check", "a.py", *CONCISE, "--select=CUP003"], ("click", "multiprocessing")),
        (["check", ".", *CONCISE, "--select=CUP003"], ("click",)),
        (["check", "train.py", *CONCISE, "--isolated", "-n"], UNUSED),
        (["rule"], ("tree_sitter", "dataclasses_json")),
        (["rule", "CUP003"], ("cudalint.fixes",)),
    ],
)
def test_start_up_loads_nothing_heavy(
    folder: Path, arguments: list[str], more: tuple[str, ...]
) -> None:
    (folder / "plain.py").write_text("x = 1\n")
    (folder / "train.py").write_text(program(200, fixable=False))
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert not _loaded(arguments) & {*HEAVY, *more}


def test_a_warm_run_loads_no_engine(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "train.py").write_text(program(200, fixable=False))
    for path in (folder / "src" / "train.py", folder / "src"):
        os.utime(path, (1, 1))  # what is this new is never taken from the cache
    arguments = ["check", "src", *CONCISE, "--isolated", "--cache-dir", "cache"]
    assert "cudalint.engine" in _loaded(arguments)
    assert not _loaded(arguments) & {*HEAVY, "cudalint.engine", "tree_sitter", "tempfile"}


def _loaded(arguments: list[str]) -> set[str]:
    """The modules that a command line loads."""
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom cudalint.__main__ import run\n"
        f"sys.argv[1:] = {arguments!r}\nrun()\n"
        "print('\\n'.join(set(sys.modules) - before), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT
    )
    loaded = set(done.stderr.split())
    assert "cudalint.__main__" in loaded, done.stderr
    return loaded
