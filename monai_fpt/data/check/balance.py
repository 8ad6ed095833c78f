"""Findings on the numbers of images: classes without any, classes with few, one class that outnumbers another."""

from __future__ import annotations

from monai_fpt.data.check.finding import FPTDataFinding, counted
from monai_fpt.data.datalist import SECTIONS, FPTDataList

__all__ = ["find_class_counts"]

_FEW = 10
_STRONG_IMBALANCE = 10.0


def find_class_counts(data: FPTDataList) -> list[FPTDataFinding]:
    """Missing, rare and unequal classes.

    Args:
        data: the list; one without labels or of one section alone, as for an evaluation, is judged as far as it goes.
    """
    filled = [name for name in SECTIONS if data.section(name)]
    findings = []
    empty = [name for name in SECTIONS if name not in filled]
    if "training" in filled and empty:
        text = (
            f"There is no image for {' and '.join(empty)}; add some: training chooses its best epoch on validation, "
            "and test gives the scores."
        )
        findings.append(FPTDataFinding("note", "empty_section", text))
    for section in filled:
        counts = dict(zip(data.classes, data.class_counts(section), strict=True))
        missing = [name for name, count in counts.items() if count == 0]
        few = {name: count for name, count in counts.items() if 0 < count < _FEW}
        if missing:
            severity = "error" if section == "training" else "warning"
            text = f"Section {section} has no image of {_named(missing)}; add some, or take the class out of the list."
            findings.append(FPTDataFinding(severity, "class_missing", text))
        if few:
            told = ", ".join(f"{name!r} {count}" for name, count in few.items())
            text = (
                f"Section {section} has fewer than {_FEW} images of {counted(len(few), 'class')} ({told}); "
                f"{'add some' if section == 'training' else 'its scores will be uncertain, add some'}."
            )
            findings.append(FPTDataFinding("note", "class_small", text))
        present = {name: count for name, count in counts.items() if count}
        if section == "training" and data.task == "multiclass" and len(present) > 1:
            most, least = max(present, key=lambda n: present[n]), min(present, key=lambda n: present[n])
            if present[most] >= _STRONG_IMBALANCE * present[least]:
                text = (
                    f"Class {most!r} has {present[most]:,} training images and {least!r} has {present[least]:,}; consider "
                    "--class_weights balanced, and do not judge by accuracy."
                )
                findings.append(FPTDataFinding("note", "class_imbalance", text))
    return findings


def _named(classes: list[str]) -> str:
    return ("class " if len(classes) == 1 else "classes ") + ", ".join(repr(name) for name in classes)
