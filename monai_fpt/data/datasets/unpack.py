"""Archives to folders: nothing outside the folder, every size verified, whole or not at all.

MONAI's ``extractall`` takes any folder of the archive's name that is not empty for a finished one. Here the members go
to a hidden folder beside the target, which is renamed when all of them are there with the size the archive names
(zipfile verifies their checksums), so a folder that exists was complete once.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from monai_fpt._progress import tqdm_bar

__all__ = ["is_empty_folder", "lacking_members", "merge_parts", "unpack_archive", "whole_folder"]

_PART = re.compile(r"(?P<whole>.+)\.(?P<number>\d{3})")
_CHUNK = 1 << 20


def is_empty_folder(path: Path) -> bool:
    """Whether a path is a folder without anything in it."""
    return path.is_dir() and next(path.iterdir(), None) is None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder that becomes ``target`` when the block ends well and is removed when it does not.

    Where ``target`` is there it must be an empty folder.
    """
    hidden = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    try:
        yield hidden
        if is_empty_folder(target):
            target.rmdir()  # not every system renames onto a folder
        os.replace(hidden, target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def unpack_archive(archive: Path, target: Path, *, progress: bool = True) -> None:
    """Unpack a .zip into a folder, unless that is there and complete; an empty folder counts as none.

    Args:
        archive: the file.
        target: the folder. Where all members lie in one folder of the target's name, that level is left out.
        progress: whether a bar is shown.

    Raises:
        RuntimeError: the archive is broken, holds a member that would leave the folder, needs more space than there is,
            or the folder is there but lacks members.
    """
    if target.exists() and not is_empty_folder(target):
        lacking = lacking_members(archive, target)
        if lacking:
            raise RuntimeError(
                f"unpack: folder {str(target)!r} is half unpacked, {len(lacking):,} file(s) of {archive.name!r} are "
                f"missing or of another size, first {lacking[0]!r}; remove the folder and run it again."
            )
        return
    try:
        with zipfile.ZipFile(archive) as opened, whole_folder(target) as hidden:
            members = _members(opened, archive, target.name)
            _require_space(archive, members, target)
            for member, path in tqdm_bar(members, desc=f"unpack {archive.name}", progress=progress):
                place = hidden / path
                place.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, place.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
                if place.stat().st_size != member.file_size:
                    raise zipfile.BadZipFile(f"member {member.filename!r} is shorter than its size says")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise RuntimeError(
            f"unpack: {str(archive)!r} cannot be unpacked ({error}); remove it and get it again."
        ) from error


def lacking_members(archive: Path, target: Path) -> list[str]:
    """Members of an archive that a folder lacks or has in another size.

    Raises:
        RuntimeError: see :func:`unpack_archive`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, archive, target.name)
    except (zipfile.BadZipFile, OSError) as error:
        raise RuntimeError(f"unpack: {str(archive)!r} cannot be read ({error}); remove it and get it again.") from error
    return [
        path.as_posix()
        for member, path in members
        if not (target / path).is_file() or (target / path).stat().st_size != member.file_size
    ]


def merge_parts(first: str | Path, *, progress: bool = True) -> Path:
    """Join ``NAME.zip.001``, ``NAME.zip.002``, ... to ``NAME.zip`` beside them; the parts stay.

    Args:
        first: the first part, or the folder that holds the parts of one archive.
        progress: whether a bar is shown.

    Returns:
        The archive, ready to be unpacked.

    Raises:
        FileNotFoundError: there are no parts.
        ValueError: a number is missing, the folder holds parts of several archives, or what comes out is no archive.
    """
    path = Path(first).expanduser().absolute()
    folder = path if path.is_dir() else path.parent
    found = [(m["whole"], int(m["number"]), p) for p in sorted(folder.iterdir()) if (m := _PART.fullmatch(p.name))]
    if not path.is_dir():
        given = _PART.fullmatch(path.name)
        found = [entry for entry in found if given and entry[0] == given["whole"]]
    if not found:
        raise FileNotFoundError(f"merge_parts: there is no part like NAME.zip.001 in {str(folder)!r}; check the path.")
    wholes = sorted({whole for whole, _, _ in found})
    if len(wholes) > 1:
        raise ValueError(f"merge_parts: {str(folder)!r} holds parts of {wholes}; name the first part of one of them.")
    numbers = [number for _, number, _ in found]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(
            f"merge_parts: the parts of {wholes[0]!r} in {str(folder)!r} are numbered {numbers}, some are missing; "
            "download those."
        )
    target = folder / wholes[0]
    hidden = folder / f".{wholes[0]}.unfinished"
    try:
        with hidden.open("wb") as sink:
            for _, _, part in tqdm_bar(found, desc=f"join {target.name}", progress=progress):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, sink, _CHUNK)
        if not zipfile.is_zipfile(hidden):
            raise ValueError(
                f"merge_parts: the {len(found)} parts of {target.name!r} do not make a zip archive, the last ones are "
                "missing or one is broken; download them again."
            )
        os.replace(hidden, target)
    finally:
        hidden.unlink(missing_ok=True)
    return target


def _members(opened: zipfile.ZipFile, archive: Path, base: str) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Files of an archive and where they go, after all of them were found harmless."""
    members = []
    for member in opened.infolist():
        name = member.filename.replace("\\", "/")
        path = PurePosixPath(name)
        if member.is_dir() and not path.parts:
            continue
        leaves = not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
        linked = stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)
        if leaves or linked or member.flag_bits & 1:
            what = "is encrypted" if member.flag_bits & 1 else "is a link" if linked else "would leave the folder"
            raise RuntimeError(
                f"unpack: member {member.filename!r} of {str(archive)!r} {what}, nothing was unpacked; get the archive "
                "from "
                "its publisher again."
            )
        if not member.is_dir() and path.parts[0] != "__MACOSX":
            members.append((member, path))
    if members and all(len(path.parts) > 1 and path.parts[0] == base for _, path in members):
        members = [(member, PurePosixPath(*path.parts[1:])) for member, path in members]
    places = [path.as_posix().casefold() for _, path in members]
    if len(set(places)) != len(places):
        raise RuntimeError(f"unpack: {str(archive)!r} holds two files of one name; get it from its publisher again.")
    return members


def _require_space(archive: Path, members: list[tuple[zipfile.ZipInfo, PurePosixPath]], target: Path) -> None:
    needed, free = sum(member.file_size for member, _ in members), shutil.disk_usage(target.parent).free
    if needed > free:
        raise RuntimeError(
            f"unpack: {archive.name!r} needs {needed:,} bytes, the disk of {str(target.parent)!r} has {free:,}; make "
            "room."
        )
