"""From the options of `check` and `fix`, whoever read them, to the command."""

from __future__ import annotations

from typing import Any

from cudalint.commands.arguments import flags


def checked(command: str, options: dict[str, Any]) -> int:
    """Run `check` or `fix`; the result is the exit code."""
    if command == "fix" and options["fix"] is None:
        options["fix"] = None if options["diff"] or options["add_noqa"] else True
    keys = flags(options)
    from cudalint.commands.check import Arguments, check

    return check(Arguments(flags=keys, **options))
