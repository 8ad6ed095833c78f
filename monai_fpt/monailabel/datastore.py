"""FPTDatastore: a folder of studies, and labels that are never lost.

    studies/
      a.png  ward1/b.DCM          images, in any depth; labels/ and hidden folders are none
      labels/final/a.png.json     labels by tag: <id of the image><suffix of the label>
      labels/.info  labels/.history   what came with them, and what was there before: see monai_fpt.monailabel.label_files

Decisions:

- There is no index. What is a label is what lies in the folder, and every label and every piece of information has a file of
  its own, which appears whole or not at all. MONAI Label's ``LocalDatastore`` keeps one file for all of it, which each
  background process rewrites from its own memory: labels saved meanwhile vanish. Here no process can overwrite what
  another has written.
- A label goes into the history first. So a kill at any moment, a deletion, and a second reader's correction leave what was
  there before.
- An id is the image's path with its suffix, see :mod:`~monai_fpt.monailabel.names`; a stem that only one image has is
  understood as well, in requests and as the name of a label that another program left there.
- A final label must say a class of the model, or it is refused while the reader is still there to mend it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from monai_fpt.data import is_image_file
from monai_fpt.monailabel.contents import ImageContents
from monai_fpt.monailabel.errors import RequestError
from monai_fpt.monailabel.label_files import IMAGES, LabelFiles, checked_image_info, checked_info, copy_whole
from monai_fpt.monailabel.names import LABELS_FOLDER, checked_id, checked_tag, label_suffix, path_within
from monai_fpt.monailabel.study_images import StudyImages, image_stem

__all__ = ["FINAL", "ORIGINAL", "SALIENCY", "FPTDatastore"]

FINAL = "final"
ORIGINAL = "original"
SALIENCY = "saliency"
_SAYS_ITSELF = (".json", ".geojson", ".txt", ".xml")  # labels that are read without their information

logger = logging.getLogger(__name__)


class FPTDatastore(Datastore):  # type: ignore[misc]
    """The studies folder of an app. Threads and processes may use one folder at the same time.

    Args:
        studies: the folder.
        check_label: called with the path and the information of every final label before it is kept; it raises
            ``ValueError`` for one that cannot be used.
        name: shown to clients.
        description: likewise.
    """

    def __init__(
        self,
        studies: str | Path,
        check_label: Callable[[Path, Mapping[str, Any]], None] | None = None,
        name: str = "studies",
        description: str = "",
    ) -> None:
        self.studies = Path(studies).resolve()
        self.labels = self.studies / LABELS_FOLDER
        for tag in (FINAL, ORIGINAL):
            (self.labels / tag).mkdir(parents=True, exist_ok=True)
        self._check_label = check_label
        self._name, self._description = name, description
        self.files = LabelFiles(self.labels)
        self.contents = ImageContents()
        self.images = StudyImages(self.studies)
        self._strays: dict[str, dict[str, str]] = {}

    # what clients are shown

    def name(self) -> str:
        return self._name

    def set_name(self, name: str) -> None:
        self._name = name

    def description(self) -> str:
        return self._description

    def set_description(self, description: str) -> None:
        self._description = description

    def status(self) -> dict[str, Any]:
        """Numbers of images, of images with a final label, and of labels by tag."""
        tags = {tag: len(self._labelled(tag)) for tag in self.tags()}
        tags = {tag: number for tag, number in tags.items() if number}
        return {"total": len(self.list_images()), "completed": tags.get(FINAL, 0), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """Everything, in the shape that MONAI Label's own datastore gives."""
        labels = {tag: self.labels_of(tag) for tag in self.tags()}
        objects = {
            image_id: {
                "image": {"ext": "", "info": self.get_image_info(image_id)},
                "labels": {
                    tag: {"ext": label_suffix(found[image_id].name), "info": self.files.read_info(tag, image_id)}
                    for tag, found in labels.items()
                    if image_id in found
                },
            }
            for image_id in self.list_images()
        }
        return {
            "name": self._name,
            "description": self._description,
            "images_dir": ".",
            "labels_dir": LABELS_FOLDER,
        } | {"objects": objects}

    # images

    def refresh(self) -> None:
        """List the folder again."""
        self.images.refresh()

    def list_images(self) -> list[str]:
        """Ids of all images."""
        return self.images.ids()

    def resolve(self, image_id: str) -> str:
        """The id that a request means: itself, or the one image of that stem.

        Raises:
            RequestError: 404, no such image, or several of that stem.
        """
        return self.images.resolve(image_id)

    def get_image_uri(self, image_id: str) -> str:
        """The image's file, or an empty text where there is none."""
        try:
            return str(self.images.paths[self.resolve(image_id)])
        except RequestError:
            return ""

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO | None:
        path = self.get_image_uri(image_id)
        return io.BytesIO(Path(path).read_bytes()) if path else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image, with its ``path``; empty where there is none."""
        try:
            image_id = self.resolve(image_id)
        except RequestError:
            return {}
        path = self.images.paths[image_id]
        return self.files.read_info(IMAGES, image_id) | {"path": str(path), "name": path.name}

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Add to what is known of an image.

        Raises:
            RequestError: 404 no such image, 400 no JSON object, or one that would change what the server tells of the image itself.
        """
        known = self._checked(lambda: checked_image_info(info))
        self.files.update_info(IMAGES, self.resolve(image_id), known)

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any]) -> str:
        """Take a file into the folder.

        Raises:
            RequestError: 400 an id that cannot be, 409 an image of another content has that id, 422 the file is no image.
        """
        suffix = (
            "".join(Path(image_filename).suffixes[-2:])
            if image_filename.lower().endswith(".nii.gz")
            else Path(image_filename).suffix
        )
        named = image_id or Path(image_filename).name
        named = named if named.lower().endswith(suffix.lower()) else named + suffix
        info = self._checked(lambda: checked_image_info(image_info or {}))
        target = self._checked(lambda: path_within(self.studies, checked_id(named)))
        unfit = self.images.unfit(named)
        if unfit:
            raise RequestError(400, f"The image {named[:80]!r} cannot be taken: {unfit}.")
        source = Path(image_filename)
        if not is_image_file(source):
            raise RequestError(
                422,
                f"The file of image {named!r} is of no kind that is read; send PNG, JPEG, TIFF, BMP, DICOM, NIfTI or NRRD.",
            )
        with self.files.locked(named):
            if target.exists() and target.read_bytes() != source.read_bytes():
                raise RequestError(
                    409,
                    f"There is another image {named!r} in the studies folder; choose another id, or remove it first.",
                )
            copy_whole(source, target)
        if info:
            self.files.update_info(IMAGES, named, {**info, "ts": int(time.time())})
        self.refresh()
        return self.resolve(named)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels; the labels stay in the history."""
        image_id = self.resolve(image_id)
        for tag in self.get_labels_by_image_id(image_id):
            self.remove_label(image_id, tag)
        self.images.paths[image_id].unlink(missing_ok=True)
        self.refresh()

    # labels

    def tags(self) -> list[str]:
        """All tags that have a folder."""
        with os.scandir(self.labels) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))

    def labels_of(self, tag: str) -> dict[str, Path]:
        """Id to file of every label with a tag, of images that are there, in the order of the images."""
        return {image_id: Path(path) for image_id, path in self._labelled(tag).items()}

    def stray_labels(self, tag: str = FINAL) -> dict[str, str]:
        """Files of labels that belong to no image, within the folder of their tag, and why, as they were listed last."""
        return dict(self._strays.get(tag, {}))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Paths of images and of their final labels."""
        found = self.labels_of(FINAL)
        pairs = [{"image": self.images.paths[image_id], "label": path} for image_id, path in found.items()]
        return [{k: str(v if full_path else v.relative_to(self.studies)) for k, v in pair.items()} for pair in pairs]

    def get_labeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Ids of images with a label, by default a final one; ``labels`` is not looked at."""
        return list(self._labelled(label_tag or FINAL))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Ids of images without a final label. The tag that a batch inference writes under does not count, as with MONAI
        Label's own datastore."""
        done = self._labelled(FINAL)
        return [image_id for image_id in self.list_images() if image_id not in done]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        try:
            image_id = self.resolve(image_id)
        except RequestError:
            return {}
        return {tag: image_id for tag in self.tags() if self._label_path(image_id, tag)}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The label's file, or an empty text where there is none."""
        try:
            path = self._label_path(self.resolve(label_id), self._checked(lambda: checked_tag(label_tag)))
        except RequestError:
            return ""
        return str(path) if path else ""

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO | None:
        path = self.get_label_uri(label_id, label_tag)
        return io.BytesIO(Path(path).read_bytes()) if path else None

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        if not self.get_label_uri(label_id, label_tag):
            return {}
        return self.files.read_info(label_tag, self.resolve(label_id))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any]) -> str:
        """Keep a label; the one that was there before stays in the history.

        Returns:
            The id of the label, which is the image's.

        Raises:
            RequestError: 404 no such image, 400 a tag or a file name that cannot be, 422 a final label that names no class.
        """
        image_id = self.resolve(image_id)
        tag = self._checked(lambda: checked_tag(label_tag))
        source = Path(label_filename)
        suffix = self._checked(lambda: label_suffix(source.name))
        info = self._checked(lambda: checked_info(label_info))
        if tag == FINAL and self._check_label is not None:
            try:
                self._check_label(source, info)
            except ValueError as error:
                raise RequestError(422, str(error).replace(source.name, f"{image_id}{suffix}")) from error
        info |= {"ts": int(time.time()), "name": f"{image_id}{suffix}", "ext": suffix}
        target = path_within(self.labels / tag, image_id)
        target = target.with_name(target.name + suffix)
        image = self.images.paths[image_id]
        info |= self.contents.facts(image)
        with self.files.locked(image_id):
            before = self._label_paths(image_id, tag)
            for path in before:
                self.files.remember_found(image_id, tag, path)
            self.files.remember(image_id, tag, source, suffix, info)
            if suffix not in _SAYS_ITSELF:  # a kill must not leave a new map with the names of the one before
                self.files.remove_info(tag, image_id)
            copy_whole(source, target)
            self.files.write_info(tag, image_id, info)
            for path in before:
                if path != target:
                    path.unlink(missing_ok=True)
        logger.info("Label kept: %s %s", tag, image_id)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label; it stays in the history.

        Raises:
            RequestError: 404, there is none.
        """
        image_id = self.resolve(label_id)
        tag = self._checked(lambda: checked_tag(label_tag))
        with self.files.locked(image_id):
            paths = self._label_paths(image_id, tag)
            if not paths:
                raise RequestError(
                    404, f"Image {image_id!r} has no label with the tag {tag!r}; GET /datastore/?output=all lists all."
                )
            info = self.files.read_info(tag, image_id) | {"removed": int(time.time())}
            for path in paths:  # all, or the one before would be the label again
                self.files.remember(image_id, tag, path, label_suffix(path.name), info)
                path.unlink()
            self.files.remove_info(tag, image_id)

    def update_label_info(self, label_id: str, label_tag: str, info: Mapping[str, Any]) -> None:
        image_id = self.resolve(label_id)
        if not self.get_label_uri(image_id, label_tag):
            raise RequestError(404, f"Image {image_id!r} has no label with the tag {label_tag[:80]!r}; save one first.")
        self.files.update_info(label_tag, image_id, self._checked(lambda: checked_info(info)))

    def label_history(self, image_id: str, tag: str = FINAL) -> list[dict[str, Any]]:
        """What was ever saved or removed, oldest first: the information of each, with the ``file`` it lies in."""
        return self.files.history(self.resolve(image_id), checked_tag(tag))

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A ZIP of all images with a final label, their labels and what is known of both."""
        found = list(self.labels_of(FINAL).items())[: limit_cases or None]
        if not found:
            raise RequestError(404, "No image has a final label yet, so there is nothing to pack; label one first.")
        with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file, zipfile.ZipFile(file, "w") as archive:
            for image_id, path in found:
                archive.write(self.images.paths[image_id], f"image/{image_id}")
                archive.write(path, f"label/{path.relative_to(self.labels / FINAL).as_posix()}")
            archive.writestr("metadata.json", json.dumps(self.json(), indent=1, default=str))
        return file.name

    # on the disk

    def _checked(self, check: Callable[[], Any]) -> Any:
        try:
            return check()
        except ValueError as error:
            raise RequestError(400, str(error)) from error

    def _labelled(self, tag: str) -> dict[str, str]:
        """As :meth:`labels_of`, without a path object for each of thousands."""
        root = os.fspath(self.labels / tag)
        images = self.list_images()
        found: dict[str, str] = {}
        strays: dict[str, str] = {}
        for folder, _, files in os.walk(root):
            inside = folder[len(root) + 1 :].replace(os.sep, "/")
            for file in files:
                name = f"{inside}/{file}" if inside else file
                image_id = self._image_of(name, tag)
                if image_id is None and (why := self.images.strays.get(name)):
                    strays[name] = why
                path = os.path.join(folder, file)
                if image_id is not None and (image_id not in found or _newer(path, found[image_id])):
                    found[image_id] = path
        self._strays[tag] = strays
        return {image_id: found[image_id] for image_id in images if image_id in found}

    def _label_path(self, image_id: str, tag: str) -> Path | None:
        found: Path | None = None
        for path in self._label_paths(image_id, tag):
            found = path if found is None or _newer(path, found) else found
        return found

    def _label_paths(self, image_id: str, tag: str) -> list[Path]:
        """All files that are a label of an image: one, unless a kill or another program left more."""
        folder = path_within(self.labels / tag, image_id).parent
        begins = image_stem(image_id).rpartition("/")[2]
        try:
            with os.scandir(
                folder
            ) as entries:  # of thousands of names, so nothing is asked of those that are none of this image
                names = sorted(entry.name for entry in entries if entry.name.startswith(begins) and entry.is_file())
        except FileNotFoundError:
            return []
        inside = image_id.rpartition("/")[0]
        return [folder / n for n in names if self._image_of(f"{inside}/{n}" if inside else n, tag) == image_id]

    def _image_of(self, name: str, tag: str) -> str | None:
        """The image that a label's file is of, named within its tag's folder. The history knows for which ids labels were saved."""
        return self.images.of_label(name, lambda image_id: self.files.was_saved(image_id, tag))


def _newer(path: str | Path, other: str | Path) -> bool:
    """Which of two files is the label, where a kill left the one before beside it."""
    try:
        return os.stat(path).st_mtime_ns > os.stat(other).st_mtime_ns
    except FileNotFoundError:
        return os.path.exists(path)
