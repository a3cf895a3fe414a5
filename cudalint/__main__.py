"""The program as a process, `cudalint` or `python -m cudalint`: it starts fast and ends at once."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` itself takes longer than `--version`
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and end the process with its code."""
    from cudalint.garbage import collect_rarely

    collect_rarely()
    _leave(run())


def run() -> int:
    """The exit code of the command line in `sys.argv`."""
    from cudalint.commands.exits import exit_code

    return exit_code(_run)


def _run() -> int:
    """Plain command lines go their own way; click, whose import takes 40 ms, reads the others."""
    words = sys.argv[1:]
    if words in (["--version"], ["-V"]):
        from cudalint import __version__

        print(f"cudalint {__version__}")
        return 0
    if words and words[0] in ("check", "fix"):
        from cudalint.commands.checking import checked
        from cudalint.commands.plain import plain

        options = plain(words[1:])
        if options is not None:
            return checked(words[0], options)
    return _by_click()


def _by_click() -> int:
    from cudalint.cli import main

    try:
        main(prog_name="cudalint")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _leave(code: int) -> NoReturn:
    """End the process as it is: freeing every object takes 5 ms, where LibCST is loaded 30."""
    import atexit
    import os

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  (contextlib takes as long as the rest of `--version`)
            stream.flush()
        except OSError:  # whoever read it is gone
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
