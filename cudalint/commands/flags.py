"""The options of `check` and `fix` as data: click's command is made of them, and `plain` reads them."""

from __future__ import annotations

from typing import Any

from cudalint.formats import FORMATS
from cudalint.records import NamedTuple


class Flag(NamedTuple):
    """One option: what it is called, what it takes, and what its help says.

    A `twin` is a switch with its `--no-` sister; given neither, the configuration decides.
    `least`: it takes a whole number of at least this. `variable`: where the environment may set it.
    """

    heading: str
    names: tuple[str, ...]
    help: str
    switch: bool = False
    twin: bool = False
    multiple: bool = False
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    default: str | None = None
    variable: str | None = None

    @property
    def key(self) -> str:
        """The name of its value."""
        return self.names[-1].lstrip("-").replace("-", "_")

    @property
    def refusal(self) -> str:
        """The sister of a twin."""
        return f"--no-{self.names[0][2:]}"

    @property
    def unset(self) -> object:
        """Its value where nobody gives one."""
        return () if self.multiple else False if self.switch else self.default


def _option(heading: str, *names: str, help: str, **more: Any) -> Flag:
    return Flag(heading, names, help, **more)


def _switch(heading: str, *names: str, help: str, **more: Any) -> Flag:
    return Flag(heading, names, help, switch=True, **more)


def _twin(heading: str, name: str, help: str) -> Flag:
    return Flag(heading, (f"--{name}",), help, twin=True)


def _many(heading: str, name: str, metavar: str, help: str) -> Flag:
    return Flag(heading, (f"--{name}",), help, multiple=True, metavar=metavar)


RULES, FILES, MISC, LOG = "Rule selection", "File selection", "Miscellaneous", "Log levels"
FIXES, OUTPUT = "Fixes", "Output"

OPTIONS = (
    _twin(FIXES, "fix", "Apply fixes."),
    _twin(FIXES, "unsafe-fixes", "Offer and apply fixes that are right in nearly all programs."),
    _twin(FIXES, "show-fixes", "List what was fixed."),
    _twin(FIXES, "fix-only", "Apply fixes and report nothing that is left. Implies --fix."),
    _switch(FIXES, "--diff", help="Print what would be fixed; exit 1 if anything."),
    _switch(FIXES, "--add-noqa", help="Suppress all findings by comments."),
    _switch(FIXES, "--ignore-noqa", help="Ignore suppression comments."),
    _option(
        OUTPUT,
        "--output-format",
        choices=FORMATS,
        variable="CUDALINT_OUTPUT_FORMAT",
        help='How findings are written. The default is "full".',
    ),
    _option(
        OUTPUT,
        *("-o", "--output-file"),
        metavar="FILE",
        variable="CUDALINT_OUTPUT_FILE",
        help="Write findings to a file.",
    ),
    _switch(OUTPUT, "--statistics", help="Print counts by rule."),
    _twin(OUTPUT, "hints", "Print hints too. They never count."),
    _switch(OUTPUT, "--show-files", help="Print the files that would be checked."),
    _switch(OUTPUT, "--show-settings", help="Print the settings of the first file."),
    _option(
        OUTPUT,
        "--color",
        choices=("auto", "always", "never"),
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
    _twin(FILES, "respect-gitignore", "Leave out what git ignores. The default."),
    _twin(FILES, "force-exclude", "Leave out excluded files even when they are named."),
    _many(FILES, "extension", "SUFFIX:LANGUAGE,…", "Languages of suffixes: python or cuda."),
    _option(MISC, "--stdin-filename", metavar="FILE", help="The name of standard input (`-`)."),
    _option(MISC, "-j", "--jobs", least=1, help="Processes. One for each core."),
    _switch(
        MISC,
        *("-n", "--no-cache"),
        variable="CUDALINT_NO_CACHE",
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
    _switch(MISC, "--isolated", help="Ignore all configuration files."),
    _switch(MISC, "-e", "--exit-zero", help="Exit 0 whatever is found."),
    _switch(
        MISC, "--exit-non-zero-on-fix", help="Exit 1 if anything was fixed."
    ),
    _switch(LOG, "-v", "--verbose", help="Say what is done."),
    _switch(LOG, "-q", "--quiet", help="Print findings and nothing else."),
    _switch(LOG, "-s", "--silent", help="Print nothing."),
)  # fmt: skip
