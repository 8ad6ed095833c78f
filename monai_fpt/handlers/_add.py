"""Things that are recorded, brought into the form in which they wait: files by content, data lists by digest."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.handlers._inputs import data_inputs
from monai_fpt.handlers._spool import SPOOL_FOLDER, RunSpool

__all__ = ["add_data", "add_file", "add_path", "dict_bytes", "figure_bytes"]

DATA_LIST = "data_list.json"


def add_file(spool: RunSpool, content: Path | bytes, name: str) -> None:
    """Let ``content`` become the artifact ``name``.

    Raises:
        ValueError: the name leads out of the run's artifacts.
    """
    target = PurePosixPath(name)
    if target.is_absolute() or ".." in target.parts or not target.name:
        raise ValueError(f"{name!r} is no name of an artifact: give one below the run's artifacts.")
    folder = target.parent.as_posix()
    spool.append("file", {"name": target.name, "folder": None if folder == "." else folder}, content)


def add_path(spool: RunSpool, path: Path, folder: str | None) -> None:
    """Let a file, or every file in a folder, become artifacts below ``folder``."""
    if path.is_file():
        add_file(spool, path.absolute(), (PurePosixPath(folder or ".") / path.name).as_posix())
        return
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.is_file() and SPOOL_FOLDER not in inside.parts:
            add_file(spool, file.absolute(), (PurePosixPath(folder or ".") / inside.as_posix()).as_posix())


def add_data(
    spool: RunSpool, data: FPTDataList, name: str, sections: Sequence[str] = SECTIONS, keys: bool = False
) -> None:
    """Let a data list become data sets of the run, and with ``keys`` an artifact."""
    inputs = data_inputs(data, name, sections)
    if inputs:
        spool.append("inputs", {"values": inputs})
        digests = {f"data.{one['context']}.sha256": json.loads(one["source"])["sha256"] for one in inputs}
        spool.append("tags", {"values": digests})
    if keys:
        with tempfile.TemporaryDirectory() as beside:
            data.save(Path(beside) / DATA_LIST)
            add_file(spool, (Path(beside) / DATA_LIST).read_bytes(), DATA_LIST)


def dict_bytes(content: Mapping[str, Any], name: str) -> bytes:
    """A dictionary as JSON, or YAML where the name ends so."""
    text = json.dumps(dict(content), indent=2, default=str)
    if name.endswith((".yaml", ".yml")):
        import yaml  # type: ignore[import-untyped]

        text = yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True)
    return text.encode()


def figure_bytes(figure: Any, name: str) -> bytes:
    """A matplotlib figure in the format of the name's ending."""
    picture = io.BytesIO()
    figure.savefig(picture, format=PurePosixPath(name).suffix[1:] or "png")
    return picture.getvalue()
