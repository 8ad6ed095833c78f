"""What a registry must not be told: folders of the machine that trained.

Two nets. Values that are paths are reduced to their last part before they are written; and before a package leaves, its
texts are searched for folders that only this machine has, and one that still holds any is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["refuse_private_text", "told"]

_PATHS = {
    "bundle_root",
    "backbone_weights",
    "cache_dir",
    "ckpt_path",
    "data_list",
    "dataset_dir",
    "output_dir",
    "output_file",
    "run_dir",
    "tracking_uri",
}
_TEXTS = (".json", ".md", ".yaml", ".yml", ".txt", ".py", "MLmodel")
_LEAST_PARTS = 3  # "/" and "/data" occur in ordinary text


def told(value: Any, name: str = "") -> Any:
    """A configuration as others may read it: of every path only the last part.

    Args:
        value: plain JSON.
        name: under which it stands.

    Example:
        >>> told({"dataset_dir": "/home/ann/images", "image_size": 512, "data_list": "@dataset_dir"})
        {'dataset_dir': 'images', 'image_size': 512, 'data_list': '@dataset_dir'}
    """
    if isinstance(value, Mapping):
        return {key: told(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [told(one, name) for one in value]
    if not isinstance(value, str) or value.startswith(("$", "@", "%")):
        return value
    if name in _PATHS or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name or value
    return value


def refuse_private_text(folder: Path, private: Iterable[Path]) -> None:
    """Refuse texts that tell where on this machine something lay.

    Args:
        folder: searched with all below.
        private: folders that must not be told.

    Raises:
        ValueError: a text tells one.
    """
    wanted = {str(path) for path in private if len(path.parts) >= _LEAST_PARTS}
    wanted |= {text.replace("\\", "\\\\") for text in wanted}  # as JSON writes it
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not path.name.endswith(_TEXTS):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = sorted(one for one in wanted if one in text)
        if found:
            raise ValueError(
                f'{path.relative_to(folder).as_posix()} would tell the registry of the folder "{found[0]}" of this machine; '
                "give it as a path relative to another, or take it out of the configuration."
            )
