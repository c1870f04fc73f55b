"""The findings as JSON, as JUnit XML for a CI server, and as a self-contained HTML page."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from examples.sender import pages, terminal
from examples.sender.check.findings import Finding, Status

ORDER: tuple[Status, ...] = ("passed", "failed", "warning", "skipped")


def summary(findings: Sequence[Finding]) -> str:
    """`20 passed, 1 failed, 4 skipped`."""
    counts = Counter(finding.status for finding in findings)
    return ", ".join(f"{counts[status]} {status}" for status in ORDER if counts[status])


def as_dict(url: str, findings: Sequence[Finding], settings: dict[str, Any]) -> dict[str, Any]:
    """The whole report, with the settings in place of what Glartek does not document."""
    return {
        "url": url,
        "summary": summary(findings),
        "settings": settings,
        "findings": [finding.as_dict() for finding in findings],
    }


def junit(url: str, findings: Sequence[Finding], settings: dict[str, Any]) -> str:
    """JUnit XML: one test case per check; a warning passes, with its text in `system-out`."""
    counts = Counter(finding.status for finding in findings)
    suite = ET.Element(
        "testsuite",
        name=f"webhook receiver {url}",
        tests=str(len(findings)),
        failures=str(counts["failed"]),
        skipped=str(counts["skipped"]),
        errors="0",
        time=f"{sum(finding.seconds for finding in findings):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in settings.items():
        ET.SubElement(properties, "property", name=name, value=terminal.setting(value))
    for finding in findings:
        case = ET.SubElement(suite, "testcase", classname="check", name=finding.check, time=f"{finding.seconds:.3f}")
        if finding.status == "failed":
            failure = ET.SubElement(case, "failure", message=_printable(finding.seen))
            failure.text = _printable("\n".join(f"{about} {text}".strip() for about, text in _told(finding)))
        elif finding.status == "skipped":
            ET.SubElement(case, "skipped", message=_printable(finding.seen))
        else:
            ET.SubElement(case, "system-out").text = _printable(finding.seen)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def html(url: str, findings: Sequence[Finding], settings: dict[str, Any]) -> str:
    """One page for the developer of the receiver, failures first."""
    by_status = {status: [one for one in findings if one.status == status] for status in ORDER}
    tiles = [(len(found), status, status if found else "skipped") for status, found in by_status.items()]
    to_mend = [*by_status["failed"], *by_status["warning"]]
    passed = [(f"{one.title}\n{one.check}", one.seen, terminal.span(one.seconds)) for one in by_status["passed"]]
    skipped = [(f"{one.title}\n{one.check}", one.seen) for one in by_status["skipped"]]
    used = [(name.replace("_", " "), terminal.setting(value)) for name, value in settings.items()]
    return pages.page(
        "Webhook receiver check",
        url,
        pages.tiles(tiles),
        *(pages.card(finding.status, finding.title, _told(finding)) for finding in to_mend),
        pages.table(("Check", "Seen", "Took#"), passed, "Passed"),
        pages.table(("Check", "Why not"), skipped, "Not checked"),
        pages.folded("Settings of this check", pages.table(("Setting", "Used#"), used)),
    )


def _told(finding: Finding) -> list[tuple[str, str]]:
    advice = [
        ("Glartek", f"{finding.glartek}."),
        ("How likely:", f"{finding.likely}."),
        ("To fix it:", finding.mend),
        ("Name:", finding.check),
    ]
    return [("", finding.seen), *(advice if finding.mend else [])]


def _printable(text: str) -> str:
    """Replace control characters, which XML cannot represent."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
