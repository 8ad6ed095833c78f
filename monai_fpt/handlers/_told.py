"""A configuration as others may read it (``told``), and as its own folder may keep it (``kept``).

Told are a tracking store and a registry: no password, and of every path only the last part. The run's folder keeps the
paths, for they are needed to run the configuration again, and no password either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from monai_fpt.handlers._addresses import HIDDEN, SECRET_NAME, hidden_text
from monai_fpt.handlers._folders import last_part, without_folders

__all__ = ["kept", "told"]

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
}
_SECRETS = re.compile(rf"(?i){SECRET_NAME}")
_WHOLE = re.compile(
    r"(?:/|~[\w.-]*/|[A-Za-z]:[\\/]|\\\\)[\w.~-]+(?:[\\/][^\\/]+)+[\\/]?"
)  # one absolute path, blanks in its names too
_NO_ADDRESS = "not recorded: an address may hold a password"
_MADE = ("@", "%")  # references; what begins with $ is an expression, and its text is looked through


def told(value: Any, name: str = "") -> Any:
    """A configuration as others may read it: of every path only the last part, no address of a store, no password.

    Args:
        value: plain JSON.
        name: under which it stands.

    Example:
        >>> told({"dataset_dir": "/home/ann/images", "image_size": 512, "data_list": "$'/mnt/a/' + @name"})
        {'dataset_dir': 'images', 'image_size': 512, 'data_list': "$'a' + @name"}
    """
    return _each(value, name, _told)


def kept(value: Any, name: str = "") -> Any:
    """A configuration as the run's folder keeps it: with its paths, but without passwords.

    Args:
        value: plain JSON.
        name: under which it stands.
    """
    return _each(value, name, _kept)


def _each(value: Any, name: str, change: Callable[[str, str], str]) -> Any:
    if isinstance(value, Mapping | list | tuple) and _SECRETS.fullmatch(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _each(one, str(key), change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_each(one, name, change) for one in value]
    return change(value, name) if isinstance(value, str) and not value.startswith(_MADE) else value


def _kept(text: str, name: str) -> str:
    if text.startswith("$"):
        return hidden_text(text)
    if name == "tracking_uri":
        return _NO_ADDRESS
    return HIDDEN if _SECRETS.fullmatch(name) else hidden_text(text)


def _told(text: str, name: str) -> str:
    text = _kept(text, name)
    if text.startswith("$") or text == _NO_ADDRESS:
        return without_folders(text)
    if "://" not in text and (name in _PATHS or _WHOLE.fullmatch(text)):
        return last_part(text)
    return without_folders(text)
