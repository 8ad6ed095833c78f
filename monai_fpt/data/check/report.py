"""FPTDataReport: what a check found, as one printed table, as JSON, and as one HTML page.

The report is plain data; only the page needs the images once more, for pictures of those that findings are about. Names
of patients are left out of table, JSON and page unless they are asked for. File names are shown as they are.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt._files import write_whole
from monai_fpt.data.check.finding import SEVERITIES, FPTDataFinding, counted
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.data.facts import ImageOptions

__all__ = ["FPTDataReport"]

_WIDTH = 118
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class FPTDataReport:
    """What :func:`~monai_fpt.data.check.check_data_list` found.

    Attributes:
        classes: names of the classes.
        task: of the data list.
        digest: of the data list.
        image_size: side of the square input in pixels, of which ``mean`` and ``std`` are.
        sections: section to ``{"images": n, "patients": n or None, "classes": {name: {"images": n, "patients": n or
            None}}}``; patients are None where none is known.
        sizes: (width, height, class name or "", number of images) of the readable images; one of several labels is
            counted under each.
        facts: format, pixels, device, modality, view and laterality to numbers of readable images by value.
        mean: of each channel of the training images, in [0, 1]; None where there is no training image.
        std: standard deviation of the pixels of the training images about ``mean``, likewise.
        findings: errors first, then warnings, then notes.
        items: items of the data list by key, for the page.
        options: how files became pixels, for the page.
    """

    classes: tuple[str, ...]
    task: str
    digest: str
    image_size: int
    sections: Mapping[str, Any]
    sizes: tuple[tuple[int, int, str, int], ...]
    facts: Mapping[str, Mapping[str, int]]
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    findings: tuple[FPTDataFinding, ...]
    items: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    options: ImageOptions = dataclasses.field(default_factory=ImageOptions, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and notes may be there."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The numbers of findings in one line."""
        numbers = {name: sum(finding.severity == name for finding in self.findings) for name in SEVERITIES}
        told = [counted(number, name) for name, number in numbers.items() if number]
        return f"{'ok' if self.ok else 'not ok'}: {', '.join(told) or 'no findings'}"

    def with_findings(self, findings: tuple[FPTDataFinding, ...]) -> FPTDataReport:
        """The report with further findings, in order.

        Args:
            findings: to be added.
        """
        ordered = sorted((*self.findings, *findings), key=lambda finding: SEVERITIES.index(finding.severity))
        return dataclasses.replace(self, findings=tuple(ordered))

    def to_dict(self, *, show_patients: bool = False) -> dict[str, Any]:
        """The report as JSON can hold it.

        Args:
            show_patients: include the names of patients.
        """
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "task": self.task,
            "classes": list(self.classes),
            "digest": self.digest,
            "image_size": self.image_size,
            "sections": {name: dict(value) for name, value in self.sections.items()},
            "sizes": [list(row) for row in self.sizes],
            "facts": {name: dict(counts) for name, counts in self.facts.items()},
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
            "findings": [finding.to_dict(show_patients=show_patients) for finding in self.findings],
        }

    def save_json(self, path: str | Path, *, show_patients: bool = False) -> None:
        """Write the report as JSON, whole or not at all.

        Args:
            path: the file; its folder is made where missing.
            show_patients: include the names of patients.
        """
        write_whole(Path(path), json.dumps(self.to_dict(show_patients=show_patients), indent=1) + "\n")

    def save_html(self, path: str | Path, *, show_patients: bool = False) -> None:
        """Write the report as one page that needs nothing beside it, whole or not at all.

        Args:
            path: the file; its folder is made where missing.
            show_patients: include the names of patients.
        """
        from monai_fpt.data.check.page import report_page

        write_whole(Path(path), report_page(self, show_patients=show_patients))

    def __str__(self) -> str:
        blocks = ["\n".join(self._counts()), "\n".join(self._measured())]
        blocks += [_told(finding) for finding in self.findings]
        return "\n\n".join(block for block in [*blocks, self.verdict] if block)

    def _counts(self) -> list[str]:
        """A line a class, a column a section: images, and patients in brackets where known."""
        rows: list[tuple[str, ...]] = [("class", *SECTIONS)]
        rows += [(name, *(_cell(self.sections[s]["classes"][name]) for s in SECTIONS)) for name in self.classes]
        patients = any(self.sections[name]["patients"] is not None for name in SECTIONS)
        rows.append(("images (patients)" if patients else "images", *(_cell(self.sections[name]) for name in SECTIONS)))
        width = max(len(row[0]) for row in rows)
        return [f"{row[0]:<{width}}" + "".join(f"{cell:>16}" for cell in row[1:]) for row in rows]

    def _measured(self) -> list[str]:
        """Sizes, kinds, and the numbers for a training."""
        lines = []
        by_size: dict[str, int] = {}
        for width, height, _, number in self.sizes:
            by_size[f"{width} x {height}"] = by_size.get(f"{width} x {height}", 0) + number
        for name, counts in {"size (width x height)": by_size, **self.facts}.items():
            ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            if ranked and [value for value, _ in ranked] != ["unknown"]:
                more = f", and {len(ranked) - 4:,} more" if len(ranked) > 4 else ""
                lines.append(f"{name}: " + ", ".join(f"{value} ({number:,})" for value, number in ranked[:4]) + more)
        if self.mean is not None and self.std is not None:
            mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (self.mean, self.std))
            lines.append(f'training images at {self.image_size} x {self.image_size}: --mean "[{mean}]" --std "[{std}]"')
        return lines


def _cell(counts: Mapping[str, Any]) -> str:
    patients = counts["patients"]
    return f"{counts['images']:,}" if patients is None else f"{counts['images']:,} ({patients:,})"


def _told(finding: FPTDataFinding) -> str:
    """A finding as text: its sentence, and the first images it is about."""
    indent = " " * 9
    lines = textwrap.wrap(finding.text, _WIDTH, initial_indent=f"{finding.severity:<9}", subsequent_indent=indent)
    head, *rows = finding.evidence or ((),)
    for value, *cells in rows:
        told = ", ".join(
            f"{cell} of {name}" if cell.endswith("%") else f"{cell} in {name}"
            for cell, name in zip(cells, head[1:], strict=True)
        )
        lines.append(f"{indent}- {value}: {told}")
    units = [list(keys) for keys in finding.sets] or [[key] for key in finding.keys]
    for keys in units[:_SHOWN]:
        named = [f"{key} ({finding.remarks[key]})" if key in finding.remarks else key for key in keys[:_SHOWN]]
        more = f" and {len(keys) - _SHOWN:,} more" if len(keys) > _SHOWN else ""
        lines.append(f"{indent}- " + "  |  ".join(named) + more)
    if len(units) > _SHOWN:
        lines.append(f"{indent}- and {len(units) - _SHOWN:,} more")
    return "\n".join(lines)
