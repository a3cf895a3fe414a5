"""The formats for programs, and the lines that end a run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from cudalint.model import Fix
from cudalint.render import View, render, summary
from cudalint.render.diff import render as diff
from cudalint.report import FileResult, Report
from tests.render.reports import (
    CWD,
    PLAIN,
    PROGRAM,
    attention,
    diagnostic,
    edit,
    item,
    one,
    replaced,
    span,
)


def test_concise() -> None:
    found = one(item(replaced()))
    assert render(found, "concise", PLAIN) == (
        "a.py:12:14: CUS001 [*] `loss.item()` waits every step\n"
    )
    colored = render(found, "concise", PLAIN._replace(color=True))
    assert "\x1b[1ma.py\x1b[0m" in colored


def test_json_has_the_fields_of_ruff() -> None:
    (found,) = json.loads(render(one(item(replaced())), "json", PLAIN))
    assert found == {
        "cell": None,
        "code": "CUS001",
        "name": "item-in-step-loop",
        "severity": "warning",
        "message": "`loss.item()` waits every step",
        "filename": "/src/a.py",
        "location": {"row": 12, "column": 14},
        "end_location": {"row": 12, "column": 25},
        "noqa_row": 12,
        "url": "https://github.com/cudalint/cudalint/blob/main/docs/rules.md#item-in-step-loop",
        "fix": {
            "applicability": "safe",
            "message": "Keep the tensor",
            "edits": [
                {
                    "content": "loss.detach()",
                    "location": {"row": 12, "column": 14},
                    "end_location": {"row": 12, "column": 25},
                }
            ],
        },
    }
    assert list(found) == [
        *("cell", "code", "name", "severity", "message", "filename"),
        *("location", "end_location", "noqa_row", "url", "fix"),
    ]


def test_json_without_fix_and_without_findings() -> None:
    assert json.loads(render(one(item()), "json", PLAIN))[0]["fix"] is None
    assert render(Report(3), "json", PLAIN) == "[]\n"


def test_columns_count_characters() -> None:
    text = "'日本é'; x.item()\n"
    fix = Fix("safe", "t", (edit(text, "x.item()", "x"),))
    found = diagnostic(text, span(text, "x.item()"), fix=fix)
    (shown,) = json.loads(render(one(found, text), "json", PLAIN))
    assert shown["location"] == {"row": 1, "column": 8}
    assert shown["fix"]["edits"][0]["location"] == {"row": 1, "column": 8}


def test_edits_applied_as_json_says_give_the_fixed_file() -> None:
    """What an outside tool makes of rows and columns is what `fix` would write."""
    (shown,) = json.loads(render(one(attention()), "json", PLAIN))
    lines = PROGRAM.splitlines(keepends=True)

    def offset(place: dict[str, int]) -> int:
        return sum(map(len, lines[: place["row"] - 1])) + place["column"] - 1

    text = PROGRAM
    for each in reversed(shown["fix"]["edits"]):
        low, high = offset(each["location"]), offset(each["end_location"])
        text = text[:low] + each["content"] + text[high:]
    assert text.startswith("import torch\nfrom cudalint.kernels import attention\n\n\ndef forward")
    assert "    return attention(q, k, v)\n" in text and "scores" not in text


def test_github() -> None:
    found = diagnostic(PROGRAM, span(PROGRAM, "loss.item()"), "100%: a, b\nc", fix=replaced())
    assert render(one(found, path=f"{CWD}/a,b.py"), "github", PLAIN) == (
        "::error title=cudalint (CUS001),file=/src/a%2Cb.py,line=12,col=14,endLine=12,"
        "endColumn=25::a,b.py:12:14: CUS001 100%25: a, b%0Ac%0A  help: Keep the tensor\n"
    )
    assert render(one(item(severity="hint")), "github", PLAIN).startswith("::notice ")


def test_sarif() -> None:
    report = Report(2, (*one(attention()).results, *one(item(), path="/b c/x.py").results))
    document = json.loads(render(report, "sarif", PLAIN))
    assert document["version"] == "2.1.0" and "sarif-2.1.0" in document["$schema"]
    (run,) = document["runs"]
    check_run(run)
    first, second = run["results"]
    assert (first["ruleId"], first["level"], second["level"]) == ("CUF001", "error", "warning")
    assert "fixes" not in second
    place = first["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "a.py", "uriBaseId": "SRCROOT"}
    place = second["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "file:///b%20c/x.py"}


def check_run(run: dict[str, Any]) -> None:
    """What the schema of SARIF 2.1.0 requires, and what it says of the types."""
    driver = run["tool"]["driver"]
    assert driver["name"] == "cudalint"
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    for base in run["originalUriBaseIds"].values():
        assert base["uri"].endswith("/")
    for rule in driver["rules"]:
        assert rule["id"] and rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
        for key in ("shortDescription", "fullDescription", "help"):
            assert rule[key]["text"]
    for result in run["results"]:
        assert result["message"]["text"]
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        for location in result["locations"]:
            check_region(location["physicalLocation"]["region"])
        for fix in result.get("fixes", []):
            for change in fix["artifactChanges"]:
                assert change["artifactLocation"]["uri"] and change["replacements"]
                for replacement in change["replacements"]:
                    check_region(replacement["deletedRegion"])
                    assert "text" in replacement.get("insertedContent", {"text": ""})


def check_region(region: dict[str, int]) -> None:
    assert min(region.values()) >= 1
    assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])


def test_the_last_line() -> None:
    def line(report: Report, view: View = PLAIN) -> str:
        return summary.summary(report, view)

    safe, unsafe, hint = item(replaced()), item(replaced("unsafe")), item(severity="hint")
    path = f"{CWD}/a.py"
    assert line(Report(3)) == "All checks passed!\n"
    assert line(one(hint)) == "All checks passed! 1 hint not counted.\n"
    assert line(one(item())) == "Found 1 error.\n"
    assert line(one(safe)) == "Found 1 error. [*] 1 fixable with `cudalint fix`.\n"
    assert line(one(unsafe)) == ("Found 1 error. 1 fixable with `cudalint fix --unsafe-fixes`.\n")
    both = Report(1, (FileResult(path, None, (safe, safe, unsafe, hint, hint)),))
    assert line(both) == (
        "Found 3 errors. [*] 2 fixable with `cudalint fix` (1 more with `--unsafe-fixes`)."
        " 2 hints not counted.\n"
    )
    assert line(both, PLAIN._replace(unsafe_fixes=True)) == (
        "Found 3 errors. [*] 3 fixable with `cudalint fix --unsafe-fixes`. 2 hints not counted.\n"
    )
    mended = Report(1, (FileResult(path, None, (item(),), {"CUS001": 2}),))
    assert line(mended) == "Found 3 errors (2 fixed, 1 remaining).\n"
    assert summary.summary(Report(3), PLAIN, complete=False) == (
        "No findings, but not everything could be checked.\n"
    )


def test_what_was_fixed() -> None:
    results = (
        FileResult(f"{CWD}/a.py", fixed={"CUP003": 1, "CUS001": 2}),
        FileResult(f"{CWD}/b.py", None, (item(),)),
    )
    assert summary.fixes(Report(2, results), PLAIN) == (
        "Fixed 3 errors:\n- a.py:\n    2 × CUS001 (item-in-step-loop)\n"
        "    1 × CUP003 (deprecated-cuda-gradscaler)\n\n"
    )
    assert summary.fixes(Report(2), PLAIN) == ""


def test_statistics() -> None:
    found = (item(replaced()), item(), attention(), item())
    report = Report(1, (FileResult(f"{CWD}/a.py", None, found),))
    assert summary.statistics(report, PLAIN, False) == (
        "3\tCUS001\t[-] item-in-step-loop\n1\tCUF001\t[ ] unfused-attention\n"
    )
    first = json.loads(summary.statistics(report, PLAIN, True))[0]
    assert first == {
        "code": "CUS001",
        "name": "item-in-step-loop",
        "count": 3,
        "fixable": False,
        "fixable_count": 1,
    }


def test_a_diff_applies(tmp_path: Path) -> None:
    """Line endings and a missing last newline included: `git apply` takes it."""
    before = {"a.py": b"a\r\nb\r\nc", "b.py": b"x\n" * 20, "c.py": "é\n".encode()}
    after = {"a.py": b"a\r\nB\r\nc\r\nd", "b.py": b"x\n" * 19 + b"y\n", "c.py": b"e"}
    results = []
    for name, text in before.items():
        (tmp_path / name).write_bytes(text)
        results.append(FileResult(f"{tmp_path}/{name}", text, new_text=after[name]))
    patch = diff(Report(3, tuple(results)), View(str(tmp_path)))
    subprocess.run(["git", "apply", "-p0", "-"], input=patch, cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in after} == after


def test_a_diff_on_a_terminal_is_coloured() -> None:
    report = Report(1, (FileResult(f"{CWD}/a.py", b"a\n", new_text=b"b\n"),))
    assert b"\x1b[31m-a\x1b[0m\n\x1b[32m+b\x1b[0m\n" in diff(report, View(CWD, color=True))
