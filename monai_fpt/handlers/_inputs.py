"""A data list as MLflow shows data sets: by digest and counts, never by names of files or patients.

- MLflow's own digest of a table reads its first 10,000 rows only and depends on their order. Here it is a sha256 over
  all of a section's keys, labels and groups, whatever their order; MLflow's field takes 32 of its 64 digits, the profile
  holds all.
- MLflow drops a second data set of the same name and digest silently, so every section has a name of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS

__all__ = ["data_inputs", "section_digest"]

MLFLOW_DIGITS = 32
SOURCE_TYPE = "monai_fpt"


def data_inputs(data: FPTDataList, name: str = "data", sections: Sequence[str] = SECTIONS) -> list[dict[str, Any]]:
    """One entry for each section that has images.

    Args:
        data: images, labels and sections.
        name: what the data set is called; the section is added.
        sections: those that the run uses.

    Returns:
        ``name``, ``digest``, ``context``, ``source_type``, ``source`` and ``profile``, all text.
    """
    return [_input(data, section, name) for section in sections if data.section(section)]


def section_digest(data: FPTDataList, section: str) -> str:
    """sha256 (64 hex digits) of the sorted keys of a section with their labels and groups, and of the class names."""
    rows = sorted([item["key"], item.get("label"), item.get("group")] for item in data.section(section))
    told = [data.task, list(data.classes), rows]
    return hashlib.sha256(json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def _input(data: FPTDataList, section: str, name: str) -> dict[str, Any]:
    items = data.section(section)
    digest = section_digest(data, section)
    groups = {item["group"] for item in items if item.get("group") is not None}
    profile = {
        "images": len(items),
        "groups": len(groups),
        "classes": dict(zip(data.classes, data.class_counts(section), strict=True)),
        "task": data.task,
        "sha256": digest,
        "split_sha256": data.digest,
    }
    return {
        "name": f"{name}-{section}",
        "digest": digest[:MLFLOW_DIGITS],
        "context": section,
        "source_type": SOURCE_TYPE,
        "source": json.dumps({"sha256": digest}),
        "profile": json.dumps(profile),
    }
