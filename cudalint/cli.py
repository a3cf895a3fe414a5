"""The command line: what is typed. What it does stands in `cudalint.commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from cudalint import __version__
from cudalint.errors import UsageError
from cudalint.formats import FORMATS

Function = TypeVar("Function", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class App(click.Group):
    """Every way out in one place: 0 and 1 from the commands, 2 for bad input, 130 for Ctrl-C."""

    def invoke(self, ctx: click.Context) -> NoReturn:
        try:
            code = super().invoke(ctx)
        except UsageError as error:
            click.echo(f"error: {error}", err=True)
            code = 2
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:
            # whoever read our output has seen enough; the interpreter must not try to flush it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except OSError as error:
            click.echo(f"error: {error}", err=True)
            code = 2
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception:
            import traceback

            traceback.print_exc()
            click.echo("error: this is a bug in cudalint, please report it", err=True)
            code = 2
        ctx.exit(code)


class Grouped(click.Command):
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


def _option(heading: str, *names: str, help: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(*names, cls=Headed, heading=heading, help=help, **more)


def _flag(heading: str, name: str, help: str) -> Callable[[Function], Function]:
    """A switch with its `--no-` twin; given neither, the configuration decides."""
    names = f"--{name}/--no-{name}"
    return _option(heading, names, help=help, default=None, is_flag=True)


def _many(heading: str, name: str, metavar: str, help: str) -> Callable[[Function], Function]:
    return _option(heading, f"--{name}", help=help, multiple=True, metavar=metavar)


RULES, FILES, MISC, LOG = "Rule selection", "File selection", "Miscellaneous", "Log levels"
FIXES, OUTPUT = "Fixes", "Output"

OPTIONS = (
    _flag(FIXES, "fix", "Apply fixes."),
    _flag(FIXES, "unsafe-fixes", "Offer and apply fixes that are right in nearly all programs."),
    _flag(FIXES, "show-fixes", "List what was fixed."),
    _flag(FIXES, "fix-only", "Apply fixes and report nothing that is left. Implies --fix."),
    _option(FIXES, "--diff", is_flag=True, help="Print what would be fixed; exit 1 if anything."),
    _option(FIXES, "--add-noqa", is_flag=True, help="Suppress all findings by comments."),
    _option(FIXES, "--ignore-noqa", is_flag=True, help="Ignore suppression comments."),
    _option(
        OUTPUT,
        "--output-format",
        type=click.Choice(FORMATS),
        envvar="CUDALINT_OUTPUT_FORMAT",
        help='How findings are written. The default is "full".',
    ),
    _option(
        OUTPUT,
        *("-o", "--output-file"),
        metavar="FILE",
        envvar="CUDALINT_OUTPUT_FILE",
        help="Write findings to a file.",
    ),
    _option(OUTPUT, "--statistics", is_flag=True, help="Print counts by rule."),
    _flag(OUTPUT, "hints", "Print hints too. They never count."),
    _option(OUTPUT, "--show-files", is_flag=True, help="Print the files that would be checked."),
    _option(OUTPUT, "--show-settings", is_flag=True, help="Print the settings of the first file."),
    _option(
        OUTPUT,
        "--color",
        type=click.Choice(("auto", "always", "never")),
        default="auto",
        help="When colours are used.",
    ),
    _many(RULES, "select", "RULE,…", "Rules to switch on: codes, prefixes, names, or ALL."),
    _many(RULES, "ignore", "RULE,…", "Rules to switch off."),
    _many(RULES, "extend-select", "RULE,…", "Rules to switch on beside the others."),
    _many(RULES, "per-file-ignores", "PATTERN:RULE,…", "Rules to switch off in some files."),
    _many(RULES, "extend-per-file-ignores", "PATTERN:RULE,…", "The same, added to what is there."),
    _many(RULES, "fixable", "RULE,…", "Rules whose fixes may be offered."),
    _many(RULES, "unfixable", "RULE,…", "Rules whose fixes are never offered."),
    _many(RULES, "extend-fixable", "RULE,…", "Rules whose fixes may be offered too."),
    _many(RULES, "target-gpus", "GPU,…", "The GPUs the program is for, such as h100 or sm_75."),
    _many(FILES, "exclude", "PATTERN,…", "Files and folders to leave out."),
    _many(FILES, "extend-exclude", "PATTERN,…", "More of them, beside those of `exclude`."),
    _flag(FILES, "respect-gitignore", "Leave out what git ignores. The default."),
    _flag(FILES, "force-exclude", "Leave out excluded files even when they are named."),
    _many(FILES, "extension", "SUFFIX:LANGUAGE,…", "Languages of suffixes: python or cuda."),
    _option(MISC, "--stdin-filename", metavar="FILE", help="The name of standard input (`-`)."),
    _option(MISC, "-j", "--jobs", type=click.IntRange(1), help="Processes. One for each core."),
    _option(
        MISC,
        *("-n", "--no-cache"),
        is_flag=True,
        envvar="CUDALINT_NO_CACHE",
        help="Neither read nor write the cache.",
    ),
    _option(MISC, "--cache-dir", metavar="FOLDER", help="Where the cache is."),
    _option(
        MISC,
        "--config",
        multiple=True,
        metavar="FILE|KEY = VALUE",
        help="A configuration file in place of those found, or one key in TOML.",
    ),
    _option(MISC, "--isolated", is_flag=True, help="Ignore all configuration files."),
    _option(MISC, "-e", "--exit-zero", is_flag=True, help="Exit 0 whatever is found."),
    _option(
        MISC, "--exit-non-zero-on-fix", is_flag=True, help="Exit 1 if anything was fixed."
    ),
    _option(LOG, "-v", "--verbose", is_flag=True, help="Say what is done."),
    _option(LOG, "-q", "--quiet", is_flag=True, help="Print findings and nothing else."),
    _option(LOG, "-s", "--silent", is_flag=True, help="Print nothing."),
)  # fmt: skip
# Options that are keys of the configuration.
LISTS = (
    *("select", "ignore", "extend_select", "fixable", "unfixable", "extend_fixable"),
    *("exclude", "extend_exclude", "target_gpus"),
)
SCALARS = (
    *("fix", "unsafe_fixes", "show_fixes", "fix_only", "hints", "output_format", "cache_dir"),
    *("respect_gitignore", "force_exclude"),
)


def _checking(function: Function) -> Function:
    """The arguments that `check` and `fix` share."""
    for option in reversed(OPTIONS):
        function = option(function)
    return click.argument("paths", nargs=-1, type=click.Path(path_type=None))(function)


@click.group(cls=App, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="cudalint %(version)s")
def main() -> None:
    """Find what makes PyTorch, Triton and CUDA programs slow or wrong on GPUs, and fix it."""


@main.command(cls=Grouped)
@_checking
def check(**options: Any) -> int:
    """Check files and folders (the current one by default; `-` is standard input)."""
    return _check(options)


@main.command(cls=Grouped)
@_checking
def fix(**options: Any) -> int:
    """Check and fix: as `check --fix`."""
    if options["fix"] is None and not options["diff"] and not options["add_noqa"]:
        options["fix"] = True
    return _check(options)


def _check(options: dict[str, Any]) -> int:
    from cudalint.commands.arguments import flags
    from cudalint.commands.check import Arguments
    from cudalint.commands.check import check as run

    keys = flags(options, LISTS, SCALARS)
    return run(Arguments(flags=keys, **options))


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
