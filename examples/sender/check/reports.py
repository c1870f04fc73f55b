"""The findings as JSON, as JUnit XML for a CI server, and as one HTML page that needs nothing else."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from examples.sender import pages
from examples.sender.check.findings import Finding, Status


def summary(findings: Sequence[Finding]) -> str:
    """`20 passed, 1 failed, 4 skipped`."""
    counts = Counter(finding.status for finding in findings)
    order: tuple[Status, ...] = ("passed", "failed", "warning", "skipped")
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status])


def as_dict(url: str, findings: Sequence[Finding], settings: dict[str, Any]) -> dict[str, Any]:
    """The whole report, with the settings that were used: what Glartek does not document is a setting."""
    return {
        "url": url,
        "summary": summary(findings),
        "settings": settings,
        "findings": [finding.as_dict() for finding in findings],
    }


def junit(url: str, findings: Sequence[Finding]) -> str:
    """JUnit XML: one test case per check; a warning passes, with its words in `system-out`."""
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
    for finding in findings:
        case = ET.SubElement(suite, "testcase", classname="check", name=finding.check, time=f"{finding.seconds:.3f}")
        if finding.status == "failed":
            failure = ET.SubElement(case, "failure", message=_printable(finding.seen))
            failure.text = _printable(f"Glartek {finding.glartek}.\nTo mend it: {finding.mend}")
        elif finding.status == "skipped":
            ET.SubElement(case, "skipped", message=_printable(finding.seen))
        else:
            ET.SubElement(case, "system-out").text = _printable(finding.seen)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def html(url: str, findings: Sequence[Finding], settings: dict[str, Any]) -> str:
    """One page, worst first, for whoever has to mend the receiver."""
    order = {"failed": 0, "warning": 1, "skipped": 3}
    ordered = sorted(findings, key=lambda finding: order.get(finding.status, 2))
    rows = [(finding.status, finding.title, _told(finding)) for finding in ordered]
    return pages.page(
        "Webhook receiver check",
        f"{url}: {summary(findings)}",
        pages.table(("", "Check", "Seen"), rows),
        pages.table(("Setting", "Used"), [(name, str(value)) for name, value in settings.items()]),
    )


def _told(finding: Finding) -> str:
    if not finding.mend:
        return finding.seen
    return f"{finding.seen}\nGlartek {finding.glartek}.\nTo mend it: {finding.mend}"


def _printable(text: str) -> str:
    """XML has no way to write control characters."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
