"""Data lists from folders: one folder a class, with or without folders for the sections; and plain folders of
unlabelled images.

Decisions: the class list is the union over the sections, so a class folder that is absent somewhere never shifts a
label: it is an error. Files are taken in sorted order whatever the file system says, hidden files and folders are
skipped. Official sections stay as they are; where only the validation section is missing, it is dealt off the
training images.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.data.datalist import SECTIONS, FPTDataList, data_item, refuse_torn_groups
from monai_fpt.data.dicom_patients import with_dicom_patients
from monai_fpt.data.image import is_image_file
from monai_fpt.data.split import check_fractions, deal_sections, section_of_name

_OTHER_IMAGES = (  # what looks like an image and is not read
    *(
        ".webp",
        ".gif",
        ".jp2",
        ".j2k",
        ".jpx",
        ".avif",
        ".heic",
        ".heif",
        ".svs",
        ".ndpi",
        ".ppm",
        ".pgm",
        ".pnm",
        ".tga",
    ),
    *(".hdr", ".img", ".exr", ".psd", ".mnc", ".mgz", ".mgh"),
)

__all__ = ["class_folder_names", "data_list_from_folders", "data_list_from_images", "sorted_class_names"]


def data_list_from_folders(
    root: str | Path,
    *,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    allow_missing_classes: bool = False,
    ordered: bool = False,
    allow_group_leakage: bool = False,
) -> FPTDataList:
    """Data list of ``root/<section>/<class>/...`` or of ``root/<class>/...``, which is then split.

    Args:
        root: the folder. Section folders are called train, training, val, valid, validation, test or testing, in any
            case.
        classes: class names in the order of their labels; by default all class folders, sorted (numerically where all
            are numbers).
        val_fraction: share of the images for validation where there are no section folders; share of the training
            images where only the validation folder is missing.
        test_fraction: share of the images for the test where there are no section folders.
        seed: another seed, another split.
        allow_missing_classes: accept classes without images in validation or test.
        ordered: the order of the classes, as given or as numbers, means something.
        allow_group_leakage: go on although a patient, by the Patient ID of DICOM files, is in two sections.

    Returns:
        The list, of task ``multiclass``. Images are found recursively and keyed by their path below ``root``; DICOM files
        are grouped by their Patient ID.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: there are fewer than two classes, an unknown class folder, a class without images, or two folders
            for one section.
    """
    root = existing_folder(root)
    section_folders = _section_folders(root)
    folders = section_folders or {"training": root}
    _warn_about_strays(folders.values())
    found = {name: class_folder_names(folder) for name, folder in folders.items()}
    names = tuple(classes) if classes is not None else sorted_class_names({n for ns in found.values() for n in ns})
    if len(names) < 2:
        raise ValueError(
            f"data list: {str(root)!r} has {len(names)} class folder(s) {list(names)}, at least two are needed; "
            "make one folder "
            "of images for each class, or give a table of labels."
        )
    unknown = sorted({n for ns in found.values() for n in ns} - set(names))
    if unknown:
        raise ValueError(
            f"data list: folder(s) {unknown} in {str(root)!r} are not in classes {list(names)}; add or move them."
        )
    items: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for section, folder in folders.items():
        for index, name in enumerate(names):
            images = _images_below(folder / name)
            if not images and (section == "training" or not allow_missing_classes):
                hint = "" if section == "training" else ", or pass allow_missing_classes=True"
                raise ValueError(
                    f"data list: class folder {str(folder / name)!r} has no readable image; add images or remove "
                    "the class "
                    f"everywhere{hint}."
                )
            items[section] += [data_item(root, path, index) for path in images]
    items = {section: with_dicom_patients(found_items) for section, found_items in items.items()}
    if section_folders and not allow_group_leakage:
        refuse_torn_groups(items, f"folder {str(root)!r}", "Patient IDs of DICOM files")
    if not section_folders:
        items = split_items(items["training"], names, check_fractions(val_fraction, test_fraction), seed)
    elif "validation" not in folders:
        items |= split_items(
            items["training"], names, check_fractions(val_fraction, 0), seed, ("training", "validation")
        )
    return FPTDataList(names, items["training"], items["validation"], items["test"], ordered=ordered)


def data_list_from_images(folder: str | Path) -> FPTDataList:
    """Unlabelled list for inference: every image below a folder, sorted, in the ``test`` section.

    Args:
        folder: the folder, searched recursively.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: it holds no image.
    """
    root = existing_folder(folder)
    images = _images_below(root)
    if not images:
        raise ValueError(
            f"data list: folder {str(root)!r} holds no image; supported are PNG, JPEG, TIFF, BMP, "
            "DICOM, NIfTI, NRRD, MetaImage and NumPy files."
        )
    return FPTDataList(classes=(), training=[], validation=[], test=[data_item(root, path) for path in images])


def sorted_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted as numbers where all of them are numbers, as text otherwise.

    Example:
        >>> sorted_class_names(["10", "2"]), sorted_class_names(["b", "10", "2"])
        (('2', '10'), ('10', '2', 'b'))
    """
    unique = sorted(set(names))
    try:
        return tuple(sorted(unique, key=float))
    except ValueError:
        return tuple(unique)


def class_folder_names(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def existing_folder(folder: str | Path) -> Path:
    """The absolute path of a folder, or FileNotFoundError."""
    path = Path(os.path.abspath(Path(folder).expanduser()))
    if not path.is_dir():
        raise FileNotFoundError(f"data list: there is no folder {str(path)!r}; check the path of the data set.")
    return path


def split_items(
    items: list[dict[str, Any]],
    classes: Sequence[str],
    fractions: dict[str, float],
    seed: int,
    sections: Sequence[str] = SECTIONS,
) -> dict[str, list[dict[str, Any]]]:
    """Labelled items dealt to sections by :func:`~monai_fpt.data.split.deal_sections`, each section sorted by key."""
    labels = {i["key"]: [i["label"]] if isinstance(i["label"], int) else _positives(i["label"]) for i in items}
    groups = {item["key"]: item["group"] for item in items if "group" in item}
    dealt = deal_sections(labels, groups, classes, fractions, seed)
    ordered = sorted(items, key=lambda item: str(item["key"]))
    return {name: [item for item in ordered if dealt[item["key"]] == name] for name in sections}


def _positives(label: list[float]) -> list[int]:
    return [index for index, value in enumerate(label) if value]


def _section_folders(root: Path) -> dict[str, Path]:
    """Section name to folder; empty where there is no training folder, for then the folders are classes."""
    folders: dict[str, Path] = {}
    for name in class_folder_names(root):
        section = section_of_name(name)
        if section is None:
            continue
        if section in folders:
            raise ValueError(
                f"data list: {str(root)!r} has two folders for {section}, {folders[section].name!r} and {name!r}; "
                "keep one."
            )
        folders[section] = root / name
    others = [name for name in class_folder_names(root) if section_of_name(name) is None]
    if folders and "training" in folders and others:
        warnings.warn(
            f"data list: folders {others[:5]} beside the sections of {str(root)!r} are left out; move their images, or evaluate "
            "them as a data set of their own.",
            stacklevel=4,
        )
    if folders and "training" not in folders:
        raise ValueError(f"data list: {str(root)!r} has folders {sorted(folders)} but none called 'train'; add it.")
    return folders


def _images_below(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted; hidden files and folders are skipped."""
    images: list[Path] = []
    others: Counter[str] = Counter()
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(parent))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__")) and os.path.realpath(os.path.join(parent, name)) not in visited
        )
        for name in files:
            path = Path(parent, name)
            if is_image_file(path):
                images.append(path)
            elif not name.startswith(".") and path.suffix.lower() in _OTHER_IMAGES:
                others[path.suffix.lower()] += 1
    if others:
        told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        warnings.warn(
            f"data list: images of unsupported kinds in {str(folder)!r} are left out ({told}); convert them to PNG.",
            stacklevel=3,
        )
    return sorted(images, key=lambda path: path.relative_to(folder).as_posix())


def _warn_about_strays(folders: Iterable[Path]) -> None:
    """Say that images beside the class folders are left out."""
    for folder in folders:
        strays = [entry.name for entry in sorted(folder.iterdir()) if is_image_file(entry)]
        if strays:
            warnings.warn(
                f"data list: {len(strays)} image(s) beside the class folders of {str(folder)!r} are left out, first "
                f"{strays[0]!r}.",
                stacklevel=3,
            )
