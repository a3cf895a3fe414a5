"""One line a finding: `path:row:column: CODE [*] message`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.render import View, applies, relative
from cudalint.render.style import Style, printable

if TYPE_CHECKING:
    from cudalint.report import Report


def render(report: Report, view: View) -> str:
    style = Style(view.color)
    colon = style.accent(":")
    lines = []
    for result in report.results:
        path = style.bold(relative(result.path, view.cwd))
        for diagnostic in result.diagnostics:
            row, column = diagnostic.start
            code = style.severity(diagnostic.severity, diagnostic.code)
            mark = style.accent("[*] ") if applies(diagnostic, view) else ""
            message = printable(diagnostic.message)
            lines.append(f"{path}{colon}{row}{colon}{column}{colon} {code} {mark}{message}\n")
    return "".join(lines)
