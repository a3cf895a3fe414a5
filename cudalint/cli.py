"""The command line as click reads it: what is typed. What it does stands in `cudalint.commands`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import click

from cudalint import __version__
from cudalint.commands.checking import checked
from cudalint.commands.exits import INTERRUPTED, exit_code
from cudalint.commands.flags import MISC, OPTIONS, Flag

Function = TypeVar("Function", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A command whose result is the exit code, where it fails as well."""

    def invoke(self, ctx: click.Context) -> int:
        return exit_code(partial(super().invoke, ctx))


class App(click.Group):
    """All commands; the exit code of the one that is called is the program's."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> NoReturn:
        try:
            code = super().invoke(ctx)
        except KeyboardInterrupt:  # while a command's own words were read
            code = INTERRUPTED
        ctx.exit(code)


class Grouped(Command):
    """A command whose help shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", MISC)
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Headed(click.Option):
    """An option that knows its heading."""

    def __init__(self, *names: Any, heading: str = "Options", **more: Any) -> None:
        super().__init__(*names, **more)
        self.heading = heading


def _option(flag: Flag) -> Callable[[Function], Function]:
    return click.option(
        *((f"{flag.names[0]}/{flag.refusal}",) if flag.twin else flag.names),
        cls=Headed,
        heading=flag.heading,
        help=flag.help,
        default=flag.unset,
        is_flag=flag.twin or flag.switch,
        multiple=flag.multiple,
        metavar=flag.metavar,
        envvar=flag.variable,
        type=_type(flag),
    )


def _type(flag: Flag) -> click.ParamType[Any] | None:
    if flag.choices:
        return click.Choice(flag.choices)
    return None if flag.least is None else click.IntRange(flag.least)


def _checking(function: Function) -> Function:
    """The arguments that `check` and `fix` share."""
    for flag in reversed(OPTIONS):
        function = _option(flag)(function)
    return click.argument("paths", nargs=-1, type=click.Path(path_type=None))(function)


@click.group(cls=App, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="cudalint %(version)s")
def main() -> None:
    """Find what makes PyTorch, Triton and CUDA programs slow or wrong on GPUs, and fix it."""


@main.command(cls=Grouped)
@_checking
def check(**options: Any) -> int:
    """Check files and folders (the current one by default; `-` is standard input)."""
    return checked("check", options)


@main.command(cls=Grouped)
@_checking
def fix(**options: Any) -> int:
    """Check and fix: as `check --fix`."""
    return checked("fix", options)


@main.command()
@click.argument("rule", required=False, metavar="[CODE|NAME]")
@click.option("--all", "everything", is_flag=True, help="Explain all rules.")
@click.option("--output-format", type=click.Choice(("text", "json")), default="text")
def rule(rule: str | None, everything: bool, output_format: str) -> int:
    """Explain a rule; without one, list all rules."""
    from cudalint.commands.rule import explain

    return explain(rule, everything, output_format)


@main.command()
@click.argument("key", required=False)
@click.option("--output-format", type=click.Choice(("text", "json")), default="text")
def config(key: str | None, output_format: str) -> int:
    """List the keys of the configuration, or explain one."""
    from cudalint.commands.config import describe

    return describe(key, output_format)


@main.command()
@click.argument("paths", nargs=-1)
@click.option("--cache-dir", metavar="FOLDER", help="The cache, where it has its own place.")
def clean(paths: tuple[str, ...], cache_dir: str | None) -> int:
    """Remove the caches in the current folder, or in the folders given."""
    from cudalint.commands.clean import clean as remove

    return remove(paths or (".",), cache_dir)


@main.command()
@click.argument("operations", nargs=-1, required=True, metavar="OP...")
@click.option("--to", metavar="FOLDER", help="Where to; `vendored-path` of the configuration else.")
@click.option("--force", is_flag=True, help="Replace files that were changed, or are not ours.")
def vendor(operations: tuple[str, ...], to: str | None, force: bool) -> int:
    """Copy kernels into the project, with all that they need and their tests.

    The copies are plain files that import torch and nothing of cudalint. With
    `kernel-source = "vendored"` fixes write imports of them.
    """
    from cudalint.commands.vendor import vendor as copy

    return copy(operations, to, force)
