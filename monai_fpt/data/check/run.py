"""run_data_check: the check as a command, from a folder or table to a printed table, files and an exit code."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.data.build import build_data_list
from monai_fpt.data.check.examine import check_data_list
from monai_fpt.data.check.finding import FPTDataFinding
from monai_fpt.data.facts import ImageOptions

__all__ = ["run_data_check"]

_SUFFIXES = (".html", ".htm", ".json")


def run_data_check(
    dataset_dir: str | Path | None = None,
    data_list: str | Path | None = None,
    output: str | Path | None = None,
    *,
    list_options: Mapping[str, Any] | None = None,
    options: ImageOptions | None = None,
    image_size: int = 512,
    num_workers: int = 0,
    near_duplicates: bool = True,
    show_patients: bool = False,
    progress: bool = True,
) -> int:
    """Check a data set and print what was found.

    The data list is built leniently: patients in two sections and classes missing from one become findings, and what
    building warns of becomes a note. What leaves no list to check (no such table, an unknown class, a row without an image) is
    printed as its sentence on standard error.

    Args:
        dataset_dir: see :func:`~monai_fpt.data.build.build_data_list`, like ``data_list``.
        data_list: a table or a saved list.
        output: also write the report there, as a page (.html) or as JSON (.json).
        list_options: further options of :func:`~monai_fpt.data.build.build_data_list` (``group_column``, ``classes``,
            ...); ``allow_missing_classes`` and ``allow_group_leakage`` are true unless given.
        options: see :func:`~monai_fpt.data.check.check_data_list`, like what follows.
        image_size: side of the square input in pixels.
        num_workers: processes that read images.
        near_duplicates: look for near duplicates.
        show_patients: write names of patients into ``output``.
        progress: show a progress bar.

    Returns:
        Exit code: 0 where there is no error, 1 otherwise.
    """
    target = Path(output).expanduser() if output else None
    if target is not None and target.suffix.lower() not in _SUFFIXES:
        return _refused(f"data check: output {str(target)!r} ends neither in .html nor in .json; give it such a name.")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            data = build_data_list(dataset_dir, data_list, **_list_options(list_options or {}))
        report = check_data_list(
            data,
            options=options,
            num_workers=num_workers,
            near_duplicates=near_duplicates,
            progress=progress,
            image_size=image_size,
        )
    except (OSError, ValueError) as error:
        return _refused(str(error))
    texts = dict.fromkeys(str(warning.message) for warning in said if issubclass(warning.category, UserWarning))
    report = report.with_findings(tuple(FPTDataFinding("note", "data_list", text) for text in texts))
    print(report)
    if target is not None:
        try:
            if target.suffix.lower() == ".json":
                report.save_json(target, show_patients=show_patients)
            else:
                report.save_html(target, show_patients=show_patients)
        except OSError as error:
            return _refused(
                f"data check: the report {str(target)!r} could not be written ({error}); give another place."
            )
        print(f"report: {target}")
    return 0 if report.ok else 1


def _list_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the list, lenient unless told otherwise.

    Raises:
        ValueError: an option that there is not.
    """
    known = set(inspect.signature(build_data_list).parameters) - {"dataset_dir", "data_list"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"data check: there is no option {unknown}; choose among {sorted(known)}.")
    return {"allow_missing_classes": True, "allow_group_leakage": True, **given}


def _refused(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1
