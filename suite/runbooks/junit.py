"""The results of a release as JUnit XML, for CI servers: whatever is not a pass shows as what it is, never as a pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SKIPPED, _ERRORS = ("not-applicable", "waived"), ("not-run",)


def junit(release: str, rows: Sequence[Mapping[str, Any]], seconds: Mapping[str, float], uncounted: Sequence[str] = ()) -> str:
    """One suite per phase, one case per check. A fail and a degraded check are failures, one that was not run an error, and one that does not apply
    or is waived is skipped; `uncounted` are passes that count nothing. `seconds` is the time of each check.
    """
    root = ElementTree.Element("testsuites", name=_text(release))
    for phase in sorted({row["phase"] for row in rows}):
        own = [row for row in rows if row["phase"] == phase]
        suite = ElementTree.SubElement(root, "testsuite", name=f"phase {phase}", timestamp=str(min(row["started_at"] for row in own))[:19])
        kinds = [_case(suite, row, seconds.get(row["id"], 0.0), row["id"] in uncounted) for row in own]
        for name, kind in (("tests", None), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(name, str(len(own) if kind is None else kinds.count(kind)))
        suite.set("time", f"{sum(seconds.get(row['id'], 0.0) for row in own):.3f}")
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, row: Mapping[str, Any], seconds: float, uncounted: bool) -> str:
    case = ElementTree.SubElement(suite, "testcase", classname=f"suite.{row['category']}", name=_text(f"{row['id']} {row['title']}"),
                                  time=f"{seconds:.3f}")
    state = str(row["state"])
    if state == "pass" and not uncounted:
        return "pass"
    kind = "skipped" if state in _SKIPPED else "error" if state in _ERRORS else "failure"
    words = f"{state}, but never proven able to fail" if state == "pass" else row.get("why") or state
    found = ElementTree.SubElement(case, kind, message=_text(str(words))[:1000])
    if kind != "skipped":
        found.set("type", "weak" if state == "pass" else state)
    return kind


def _text(value: str) -> str:
    return _ILLEGAL.sub("\ufffd", value)
