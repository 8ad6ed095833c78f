"""A collection of The Cancer Imaging Archive, series by series, through its public NBIA interface (no login).

A collection is thousands of small archives. Each series is unpacked to ``COLLECTION/patient/study/series`` and has its
folder only when it is complete, so an interrupted download goes on with the next run. The archive publishes no
checksum for a series; zip checksums and the number of images that its list names are verified.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import requests

from monai_fpt._progress import tqdm_bar
from monai_fpt.data.datasets.transfer import fetch_file
from monai_fpt.data.datasets.unpack import unpack_archive

__all__ = ["NBIA_URL", "obtain_collection"]

NBIA_URL = "https://services.cancerimagingarchive.net/nbia-api/services/v1/"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def obtain_collection(
    collection: str, modality: str, root: Path, *, base_url: str = NBIA_URL, progress: bool = True, wait: float = 2.0
) -> int:
    """Fetch what is missing of a collection.

    Args:
        collection: its name, which is also the folder's.
        modality: DICOM modality of the series that are wanted.
        root: the folder that the collection's folder goes to.
        base_url: the interface, with a slash at the end.
        progress: whether a bar is shown.
        wait: see :func:`~monai_fpt.data.datasets.transfer.fetch_file`.

    Returns:
        Number of series that lie in the folder now, which is that of the archive's list.

    Raises:
        RuntimeError: the archive does not answer, or a series is not what the list says; what is done stays.
    """
    series = _listed_series(collection, modality, base_url)
    home = root / collection
    home.mkdir(exist_ok=True)
    for entry in tqdm_bar(series, desc=f"{collection} series", progress=progress):
        uid = str(entry["SeriesInstanceUID"])
        folder = home / str(entry["PatientID"]) / str(entry["StudyInstanceUID"]) / uid
        if folder.is_dir():
            _check_images(folder, entry)
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        archive = home / f".{uid}.zip"
        side = archive.with_name(f"{archive.name}.sha256")
        url = urljoin(base_url, f"getImage?{urlencode({'SeriesInstanceUID': uid})}")
        try:
            archive.unlink(missing_ok=True)  # of an interrupted run
            side.unlink(missing_ok=True)  # archives are packed anew for each request
            fetch_file(url, archive, progress=False, wait=wait)
            unpack_archive(archive, folder, progress=False)
            _check_images(folder, entry)
        except RuntimeError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            archive.unlink(missing_ok=True)
            side.unlink(missing_ok=True)
        _keep_licence(folder, home)
    return len(series)


def _listed_series(collection: str, modality: str, base_url: str) -> list[Mapping[str, Any]]:
    """The archive's list, sorted by patient; its names become folders, so they are checked."""
    url = urljoin(base_url, f"getSeries?{urlencode({'Collection': collection, 'Modality': modality})}")
    try:
        answer = requests.get(url, timeout=(10, 300))
        answer.raise_for_status()
        listed = answer.json() if answer.text.strip() else []
    except (requests.RequestException, ValueError) as error:
        raise RuntimeError(f"download: {url} gave no list of series ({error}); try again later.") from error
    if not listed:
        raise RuntimeError(f"download: {url} lists no series; check the collection's name, or get it by hand.")
    for entry in listed:
        for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            if not _PLAIN.fullmatch(str(entry.get(name, ""))):
                raise RuntimeError(f"download: {url} names a series with {name} {entry.get(name)!r}; get it by hand.")
    return sorted(listed, key=lambda entry: (str(entry["PatientID"]), str(entry["SeriesInstanceUID"])))


def _check_images(folder: Path, entry: Mapping[str, Any]) -> None:
    """The series has as many images as the list says."""
    named, there = entry.get("ImageCount"), sum(1 for path in folder.rglob("*") if path.suffix.lower() == ".dcm")
    if named is not None and there != int(named):
        raise RuntimeError(
            f"download: series {entry['SeriesInstanceUID']} in {str(folder)!r} has {there} images, {named} are listed; "
            "remove the folder and run it again."
        )


def _keep_licence(folder: Path, home: Path) -> None:
    """The licence that comes with a series, once for the collection."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stem.upper() == "LICENSE" and not (home / "LICENSE").exists():
            shutil.copyfile(path, home / "LICENSE")
