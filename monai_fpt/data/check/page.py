"""The report as one HTML page that needs nothing beside it: no script, no network, pictures within.

Whatever comes from the data (file names, classes, values in headers) is escaped. Patients are numbered unless their names are
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from monai_fpt._version import __version__
from monai_fpt.data.check.figures import sizes_drawing, thumbnail_uri
from monai_fpt.data.check.finding import FPTDataFinding
from monai_fpt.data.check.report import FPTDataReport
from monai_fpt.data.check.style import framed_page
from monai_fpt.data.datalist import SECTIONS

__all__ = ["report_page"]

_MOST_IMAGES = 12  # of a finding
_MOST_OF_A_SET = 4
_MOST_VALUES = 6


def report_page(report: FPTDataReport, *, show_patients: bool = False) -> str:
    """The page.

    Args:
        report: what was found. Images that findings are about are read again, at most twelve for each.
        show_patients: show names of patients.
    """
    pictures = _Pictures(report)
    findings = "".join(_finding(finding, pictures, show_patients) for finding in report.findings)
    body = f"""<h1>Data check</h1>
{_verdict(report)}
<h2>Images by class and section</h2>
{_counts(report)}
<h2>Findings</h2>
{findings or "<p>None.</p>"}
<h2>What the images are</h2>
{_measured(report)}
<p class="quiet">monai-fpt {escape(__version__)}, data list {escape(report.digest[:12])}. A research tool, not a medical device.</p>"""
    return framed_page(f"Data check: {report.verdict}", body)


def _verdict(report: FPTDataReport) -> str:
    """The first line of the page."""
    _, _, numbers = report.verdict.partition(": ")
    worst = report.findings[0].severity if report.findings else ""
    lead = {"error": "Mend before training", "warning": "No errors, but look at the warnings"}.get(worst, "No errors")
    return f'<p class="verdict {worst}">{escape(lead)}: {escape(numbers)}</p>'


class _Pictures:
    """Thumbnails by key, each read once."""

    def __init__(self, report: FPTDataReport) -> None:
        self._report = report
        self._known: dict[str, str | None] = {}

    def __getitem__(self, key: str) -> str | None:
        if key not in self._known:
            item = self._report.items.get(key)
            self._known[key] = None if item is None else thumbnail_uri(item, self._report.options)
        return self._known[key]


def _table(rows: Sequence[Sequence[str]], *, total: bool = False) -> str:
    """A table of escaped text, its first row the heads, in a box that scrolls."""
    head, *body = rows
    lines = ["<tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr>"]
    for index, row in enumerate(body):
        kind = ' class="total"' if total and index == len(body) - 1 else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return f'<div class="box"><table>{"".join(lines)}</table></div>'


def _counts(report: FPTDataReport) -> str:
    known = report.sections["training"]["patients"] is not None
    rows: list[list[str]] = [["class", *SECTIONS]]
    rows += [[name, *(_cell(report.sections[s]["classes"][name]) for s in SECTIONS)] for name in report.classes]
    rows.append(["all", *(_cell(report.sections[section]) for section in SECTIONS)])
    note = '<p class="quiet">In brackets: patients (groups).</p>' if known else ""
    return _table(rows, total=True) + note


def _cell(counts: Mapping[str, Any]) -> str:
    patients = counts["patients"]
    return f"{counts['images']:,}" + ("" if patients is None else f" ({patients:,})")


def _measured(report: FPTDataReport) -> str:
    parts = [sizes_drawing(report.sizes, report.classes, report.image_size)]
    rows = []
    if not parts[0] and report.sizes:
        rows.append(("size", f"{report.sizes[0][0]} x {report.sizes[0][1]}, all images"))
    for name, counts in report.facts.items():
        if set(counts) - {"unknown"}:
            ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            more = f", and {len(ranked) - _MOST_VALUES:,} more" if len(ranked) > _MOST_VALUES else ""
            rows.append((name, ", ".join(f"{value} ({number:,})" for value, number in ranked[:_MOST_VALUES]) + more))
    if rows:
        lines = "".join(f'<tr><td>{escape(n)}</td><td class="text">{escape(t)}</td></tr>' for n, t in rows)
        parts.append(f'<div class="box"><table>{lines}</table></div>')
    if report.mean is not None and report.std is not None:
        mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (report.mean, report.std))
        parts.append(
            f"<p>Mean and standard deviation of the training images at {report.image_size} x {report.image_size}, in [0, 1]:</p>"
            f'<pre>--mean "[{mean}]" --std "[{std}]"</pre>'
        )
    return "".join(parts)


def _finding(finding: FPTDataFinding, pictures: _Pictures, show_patients: bool) -> str:
    evidence = _table(finding.evidence) if finding.evidence else ""
    return (
        f'<section class="finding {finding.severity}"><div class="kind">{finding.severity}</div>'
        f"<p>{escape(finding.text)}</p>{evidence}{_images(finding, pictures, show_patients)}</section>\n"
    )


def _images(finding: FPTDataFinding, pictures: _Pictures, show_patients: bool) -> str:
    """Pictures of the images that a finding is about, sets side by side, and how many more there are."""
    if not finding.keys:
        return ""
    shown, parts = 0, []
    if not finding.sets:
        parts = [_figure(key, finding, pictures) for key in finding.keys[:_MOST_IMAGES]]
        shown = len(parts)
    for index, keys in enumerate(finding.sets):
        some = keys[:_MOST_OF_A_SET]
        if shown + len(some) > _MOST_IMAGES:
            break
        shown += len(some)
        title = ""
        if finding.patients:
            named = finding.patients[index] if show_patients else f"{index + 1}"
            title = f"<b>{escape(f'patient {named}, {len(keys)} images')}</b>"
        parts.append(
            f'<div class="set">{title}<div>{"".join(_figure(key, finding, pictures) for key in some)}</div></div>'
        )
    left = len(finding.keys) - shown
    more = f'<p class="quiet">and {left:,} more</p>' if left else ""
    return f'<div class="images">{"".join(parts)}</div>{more}'


def _figure(key: str, finding: FPTDataFinding, pictures: _Pictures) -> str:
    uri = pictures[key]
    picture = f'<img alt="" src="{uri}">' if uri else '<div class="none">no picture</div>'
    remark = f"<span>{escape(finding.remarks[key])}</span>" if key in finding.remarks else ""
    name = re.sub(r"([/_-])", r"\1<wbr>", escape(key))
    return f"<figure>{picture}<figcaption>{name}{remark}</figcaption></figure>"
