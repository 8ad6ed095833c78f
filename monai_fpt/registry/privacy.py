"""What a registry must not be told: folders of the machine that trained, and passwords.

Two nets. Configurations are written as ``told`` gives them; and before a package leaves, its texts are searched. Of all
texts none may name a folder that is known to be this machine's, however it is written, nor hold an address with a password;
and in configurations, which people fill with their own, no absolute path at all may be left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from monai_fpt.handlers._addresses import lets_in
from monai_fpt.handlers._folders import private_paths
from monai_fpt.handlers._told import told

__all__ = ["refuse_private_text", "told"]

_CONFIGURATIONS = (".json", ".yaml", ".yml", "MLmodel")
_LEAST_PARTS = 3  # "/" and "/data" occur in ordinary text


def refuse_private_text(folder: Path, private: Iterable[Path]) -> None:
    """Refuse texts that tell where on this machine something lay, or how to get into a server.

    Args:
        folder: searched with all below.
        private: folders that must not be told.

    Raises:
        ValueError: a text tells one.
    """
    wanted = {form for path in private if len(path.parts) >= _LEAST_PARTS for form in _forms(path)}
    for path in sorted(folder.rglob("*")):
        text = _text_of(path)
        if text is None:
            continue
        name = path.relative_to(folder).as_posix()
        found = sorted(one for one in wanted if one in text)
        if path.name.endswith(_CONFIGURATIONS):
            found += [one for one in private_paths(text) if _parts(one) >= _LEAST_PARTS]
        if any(lets_in(line) for line in text.splitlines()):
            raise ValueError(f"{name} would tell the registry a password or a token within an address; take it out.")
        if found:
            raise ValueError(
                f'{name} would tell the registry of the folder "{found[0]}" of this machine; '
                "give it as a path relative to another, or take it out of the configuration."
            )


def _text_of(path: Path) -> str | None:
    """What a file says; None where it is no text."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError:
        return None


def _forms(path: Path) -> Iterator[str]:
    """A folder as texts write it: plain, as JSON and Python escape it, with slashes, within an address."""
    text = str(path)
    yield from {text, text.replace("\\", "\\\\"), path.as_posix(), quote(path.as_posix())}


def _parts(path: str) -> int:
    return len([part for part in path.replace("\\", "/").split("/") if part])
