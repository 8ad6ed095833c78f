"""One file over HTTP: resumed, bounded in its retries, checked, whole or not at all.

The bytes arrive in ``NAME.part`` beside the file and are renamed when they are complete and their checksum is right. A
broken transfer goes on where it stopped, in this run or a later one, but only where the server still offers the same
file: what it said of the file (ETag or Last-Modified) is kept in ``NAME.part.of``, and something else starts anew. So
does a transfer from a server that says neither, unless a checksum is published, which would find two versions glued.

Where a checksum is published the file must have it. Where none is, the sha256 of the first download is kept in
``NAME.sha256``; a file that differs from it later is said.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import requests

from monai_fpt._progress import tqdm_bar

__all__ = ["digest_of_file", "fetch_file", "kept_sha256"]

_CHUNK = 1 << 20
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be better a moment later


def fetch_file(
    url: str, target: Path, *, md5: str = "", retries: int = 5, wait: float = 2.0, progress: bool = True
) -> None:
    """Fetch a file, unless it is there already.

    Args:
        url: where it is.
        target: where it goes; its folder exists. A file that is there is checked and kept.
        md5: 32 hex digits that its content must have; empty where unknown.
        retries: attempts after the first one, each of which goes on where the last one stopped, if it can.
        wait: seconds before the second attempt, doubled before each further one.
        progress: whether a bar is shown.

    Raises:
        RuntimeError: the server refused, the attempts are used up, the disk is too small, or the content is not what
            was published.
    """
    if target.is_file():
        _check_content(target, md5, f"remove {str(target)!r} and download it again")
        return
    part = target.with_name(f"{target.name}.part")
    for attempt in range(retries + 1):
        try:
            _transfer(url, target.name, part, md5, progress)
            break
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == retries:
                have, said = _kept(part)
                state, next_time = f"{have:,} bytes are kept in {str(part)!r}", "to go on"
                if have and not (md5 or _version(said)):
                    state, next_time = "the server does not say which version of the file it has", "from the start"
                raise RuntimeError(
                    f"download: {url} broke off {retries + 1} times, {state} ({_plain(error)}); run it again "
                    f"{next_time}."
                ) from error
            time.sleep(wait * 2**attempt)
    if md5 and digest_of_file(part, "md5") != md5:
        _forget(part)
        raise RuntimeError(
            f"download: {url} does not have the published MD5 {md5}, what came was removed; try again later, or get "
            "the file by hand."
        )
    if not md5:
        _keep_sha256(part, target)
    os.replace(part, target)
    _forget(part)


def digest_of_file(path: Path, kind: str) -> str:
    """Hex digest of a file's content, read piece by piece.

    Args:
        path: the file.
        kind: ``"md5"`` or ``"sha256"``.
    """
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def kept_sha256(target: Path) -> str:
    """The sha256 that was kept of an earlier download; empty where none was."""
    side = target.with_name(f"{target.name}.sha256")
    return side.read_text(encoding="utf-8").split()[0] if side.is_file() else ""


def _transfer(url: str, name: str, part: Path, md5: str, progress: bool) -> None:
    """Fetch what is lacking of the partial file; ConnectionError where it breaks off."""
    start, said = _kept(part)
    if start and said.rpartition(" ")[2] == str(start):
        return  # stopped between the last byte and the new name
    if not (md5 or _version(said)):
        start = 0  # another version of the same size could not be told
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code in _PASSING:
            raise requests.ConnectionError(f"the server answered {answer.status_code}")
        goes_on = bool(start) and answer.status_code == 206 and _validator(answer) == said
        if start and not goes_on and answer.status_code in (206, 416):
            _forget(part)  # another file by now, or nothing is lacking and it cannot be told whether it is the same
            raise requests.ConnectionError("the file has changed on the server")
        if answer.status_code not in (200, 206):
            raise RuntimeError(
                f"download: {url} was answered with {answer.status_code}; check the address, or get it by hand."
            )
        length = int(answer.headers.get("Content-Length", 0))
        _require_space(part, length, url)
        if not goes_on:
            start = 0
            _forget(part)  # or a stop right here would leave old bytes under a new version's name
            part.with_name(f"{part.name}.of").write_text(_validator(answer), encoding="utf-8")
        shown = tqdm_bar(
            total=start + length or None, initial=start, unit="B", unit_scale=True, desc=name, progress=progress
        )
        answer.raw.enforce_content_length = False  # or what came before a break is lost; the size is verified below
        with part.open("ab" if goes_on else "wb") as file, shown:
            for piece in answer.iter_content(_CHUNK):
                file.write(piece)
                shown.update(len(piece))
            file.flush()
            os.fsync(file.fileno())
    if length and part.stat().st_size != start + length:
        raise requests.ConnectionError(f"{part.stat().st_size:,} of {start + length:,} bytes came")


def _kept(part: Path) -> tuple[int, str]:
    """Bytes of an unfinished transfer and what the server said of its file; 0 and nothing where there is none."""
    said = part.with_name(f"{part.name}.of")
    there = part.is_file() and said.is_file()
    return (part.stat().st_size, said.read_text(encoding="utf-8")) if there else (0, "")


def _version(said: str) -> str:
    """The version in what a server said of a file; empty where it names none."""
    return said.rpartition(" ")[0].strip()


def _validator(answer: Any) -> str:
    """What the server says of the file: its version and its whole size."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
    version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    return f"{version} {whole}"


def _require_space(part: Path, length: int, url: str) -> None:
    free = shutil.disk_usage(part.parent).free
    if length > free:
        raise RuntimeError(
            f"download: {url} needs {length:,} bytes more, the disk of {str(part.parent)!r} has {free:,}; make room."
        )


def _check_content(target: Path, md5: str, mend: str) -> None:
    """Hold a file that is there against what is known of it."""
    if md5 and (actual := digest_of_file(target, "md5")) != md5:
        raise RuntimeError(f"download: {str(target)!r} has MD5 {actual}, {md5} is published; {mend}.")
    known = "" if md5 else kept_sha256(target)
    if known and (actual := digest_of_file(target, "sha256")) != known:
        raise RuntimeError(f"download: {str(target)!r} has sha256 {actual}, {known} was downloaded; {mend}.")


def _keep_sha256(part: Path, target: Path) -> None:
    actual, known = digest_of_file(part, "sha256"), kept_sha256(target)
    if known and known != actual:
        warnings.warn(
            f"download: {target.name} is another file than the one downloaded before (sha256 {actual}, was {known}).",
            stacklevel=3,
        )
    side = target.with_name(f"{target.name}.sha256")
    temporary = side.with_name(f".{side.name}.tmp")
    temporary.write_text(f"{actual}  {target.name}\n", encoding="utf-8")
    os.replace(temporary, side)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.of").unlink(missing_ok=True)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
