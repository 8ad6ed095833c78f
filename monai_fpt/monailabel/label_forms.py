"""Labels as clients save them, turned into classes. Pure functions: a file and what is known of it, to names.

The form is recognised by the file's suffix and its content:

- ``.json``: ``{"label": name or index}``, ``{"labels": [...]}``, the same under ``class`` and ``classes``, a bare name or
  index; what inference answers (``prediction``); QuPath's GeoJSON (``classification``), annotations of DSA (``group``) and
  of this server (``annotation``), and CVAT's (a list of shapes or tags with ``label``);
- ``.txt``: one name or index a line;
- ``.xml``: ASAP, as QuPath saves it (``PartOfGroup``), and CVAT for images (``tag``, ``box``, ``polygon``, ...);
- label maps (``.nrrd``, ``.nii``, ``.nii.gz``, ``.mha``, ``.png``, ``.tif``): any dab with a segment that is named after a class.
  Names come from the label's information (``label_info`` as 3D Slicer and OHIF send it, ``label_names``, CVAT's
  ``labelmap``) or from the header of a ``.seg.nrrd``.

Decisions:

- A value of a label map without a name is refused: whether 1 is the first class or the second is a guess.
- Names are compared as they are, then without regard to case, for some clients write them in lower case.
- Two classes where classes exclude each other, no class at all, and a name that no class has are errors, in one sentence:
  a reader's work is never dropped or bent silently. Segments of the saliency map and the background are passed over.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SALIENCY_PREFIX", "LabelError", "class_names", "read_label"]

SALIENCY_PREFIX = "saliency"
_PASSED_OVER = ("background", "")
_MAPS = (".nrrd", ".nii", ".nii.gz", ".mha", ".mhd", ".png", ".tif", ".tiff")
_MOST_BYTES = 64 * 2**20


class LabelError(ValueError):
    """A label does not say which class an image is of; the text says what is wrong and how to mend it."""


def read_label(
    path: str | Path, classes: Sequence[str], task: str = "multiclass", info: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """The class names that a label file gives an image.

    Args:
        path: the file as the client sent it.
        classes: names of the model's classes.
        task: ``"multiclass"`` gives exactly one name, ``"multilabel"`` any number, none included.
        info: what the client sent beside the file.

    Returns:
        Names out of ``classes``, in their order.

    Raises:
        LabelError: the file gives no answer that fits the classes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.json")
        ...     _ = path.write_text('{"label": "Malignant"}')
        ...     read_label(path, ["benign", "malignant"])
        ('malignant',)
    """
    path = Path(path)
    if path.stat().st_size > _MOST_BYTES:
        raise LabelError(
            f'The label "{path.name}" has more than {_MOST_BYTES // 2**20} MiB; send a label of one image.'
        )
    name = path.name.lower()
    try:
        if name.endswith((".json", ".geojson")):
            found = _of_json(json.loads(path.read_text(encoding="utf-8")), task)
        elif name.endswith(".txt"):
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        elif name.endswith(".xml"):
            found = _of_xml(ET.fromstring(path.read_bytes()))
        elif name.endswith(_MAPS):
            found = _of_map(path, info or {})
        else:
            raise LabelError(
                f'The label "{path.name}" is of a form that is not known; send JSON like {{"label": "{classes[0]}"}}, text, XML, or a '
                "label map."
            )
    except LabelError:
        raise
    except Exception as error:  # whatever a decoder raises on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LabelError(f'The label "{path.name}" cannot be read ({reason}); save it again.') from error
    return class_names(found, classes, task, path.name)


def class_names(
    found: Iterable[Any], classes: Sequence[str], task: str = "multiclass", where: str = "label"
) -> tuple[str, ...]:
    """Names or indices as the names of classes.

    Args:
        found: names, or indices into ``classes``.
        classes: names of the model's classes.
        task: as of :func:`read_label`.
        where: what to call the label in messages.

    Raises:
        LabelError: a name or an index that no class has, or not one class where classes exclude each other.

    Example:
        >>> class_names([1], ["benign", "malignant"])
        ('malignant',)
    """
    known = ", ".join(classes)
    named = set()
    for value in found:
        name = _class_of(value, classes)
        if name is None:
            raise LabelError(
                f'The label "{where}" names {str(value)[:60]!r}, which is no class of this model; its classes are {known}.'
            )
        named.add(name)
    if task == "multiclass" and len(named) != 1:
        says = f"names {len(named)} classes ({', '.join(sorted(named))})" if named else "names no class"
        raise LabelError(f'The label "{where}" {says}, but an image is of exactly one; give one of {known}.')
    return tuple(name for name in classes if name in named)


def _class_of(value: Any, classes: Sequence[str]) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else None
    text = str(value).strip()
    if text in classes:
        return text
    alike = [name for name in classes if name.casefold() == text.casefold()]
    if len(alike) == 1:
        return alike[0]
    return _class_of(int(text), classes) if text.isascii() and text.isdigit() else None


def _of_json(content: Any, task: str) -> list[Any]:
    if isinstance(content, (str, int)) and not isinstance(content, bool):
        return [content]
    if isinstance(content, list):
        return [name for part in content for name in _of_json(part, task)]
    if not isinstance(content, Mapping):
        raise LabelError('A JSON label holds neither a name nor an object; send {"label": "name of the class"}.')
    for key in ("label", "class", "labels", "classes"):
        if content.get(key) is not None:
            value = content[key]
            if isinstance(value, Mapping) and "name" in value:
                value = value["name"]
            return list(value) if isinstance(value, list) else [value]
    if "prediction" in content:
        scores = {str(part["label"]): float(part["score"]) for part in content["prediction"]}
        if task == "multilabel":
            return [name for name, score in scores.items() if score >= 0.5]
        return [max(scores, key=lambda name: scores[name])] if scores else []
    if content.get("type") == "FeatureCollection":
        return [name for part in content["features"] for name in _of_json(part, task)]
    if content.get("type") == "Feature":
        classification = content.get("properties", {}).get("classification")
        return [classification["name"]] if classification else []
    parts = [content[key] for key in ("annotation", "annotations", "elements", "shapes", "tags") if key in content]
    if parts:
        return [name for part in parts for name in _of_json(part, task)]
    if "group" in content:
        return [content["group"]]
    raise LabelError('A JSON label says nothing of a class; send {"label": "name of the class"}.')


def _of_xml(root: ET.Element) -> list[str]:
    named = [node.get("PartOfGroup") or "" for node in root.iter("Annotation")]
    for kind in ("tag", "box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid"):
        named += [node.get("label") or "" for node in root.iter(kind)]
    return [name for name in named if not _passed_over(name)]


def _of_map(path: Path, info: Mapping[str, Any]) -> list[str]:
    values, names = _values_and_header(path)
    colours = _labelmap(info)
    if values.ndim == 3 and values.shape[-1] in (3, 4) and colours:
        present = {tuple(map(int, colour[:3])) for colour in np.unique(values.reshape(-1, values.shape[-1]), axis=0)}
        named = [colours.get(colour) for colour in sorted(present)]
        if None in named:
            raise LabelError(
                f'The label map "{path.name}" has colours that its labelmap does not name; export it again.'
            )
        return [name for name in named if name and not _passed_over(name)]
    names |= _names_of_values(info)
    present_values = [int(value) for value in np.unique(values) if value != 0]
    unnamed = [value for value in present_values if value not in names]
    if unnamed:
        raise LabelError(
            f'The label map "{path.name}" has the value {unnamed[0]}, and nothing says which class that is; send label_info or '
            "label_names with it, or name the segments."
        )
    return [names[value] for value in present_values if not _passed_over(names[value])]


def _passed_over(name: str) -> bool:
    return name.strip().casefold() in _PASSED_OVER or name.casefold().startswith(SALIENCY_PREFIX)


def _values_and_header(path: Path) -> tuple[npt.NDArray[Any], dict[int, str]]:
    """Pixels, colours in the last axis, and names by value that the file itself has."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        import nrrd

        pixels, header = nrrd.read(str(path))
        named = {
            int(header[f"{key[:-5]}_LabelValue"]): str(value)
            for key, value in header.items()
            if key.startswith("Segment") and key.endswith("_Name") and f"{key[:-5]}_LabelValue" in header
        }
        return np.asarray(pixels), named
    if name.endswith((".nii", ".nii.gz")):
        import nibabel

        return np.asarray(nibabel.load(path).dataobj), {}
    if name.endswith((".mha", ".mhd")):
        import itk

        return np.asarray(itk.array_from_image(itk.imread(str(path)))), {}
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image), {}


def _names_of_values(info: Mapping[str, Any]) -> dict[int, str]:
    """Names by value that a client sent, also within ``params``."""
    named: dict[int, str] = {}
    for source in (info.get("params"), info):
        if not isinstance(source, Mapping):
            continue
        label_names = source.get("label_names")
        if isinstance(label_names, Mapping):
            named |= {int(value): str(name) for name, value in label_names.items()}
        label_info = source.get("label_info")
        if isinstance(label_info, Sequence) and not isinstance(label_info, str):
            for number, entry in enumerate(label_info, start=1):
                if isinstance(entry, Mapping) and "name" in entry:
                    value = next(
                        (entry[key] for key in ("labelValue", "label_value", "value", "idx") if key in entry), number
                    )
                    named[int(value)] = str(entry["name"])
    return named


def _labelmap(info: Mapping[str, Any]) -> dict[tuple[int, ...], str]:
    """CVAT's ``labelmap.txt`` (``name:r,g,b:parts:actions``), as text or as a mapping of names to colours."""
    labelmap = info.get("labelmap")
    if isinstance(labelmap, Mapping):
        return {tuple(int(part) for part in colour): str(name) for name, colour in labelmap.items()}
    if not isinstance(labelmap, str):
        return {}
    rows = [line.split(":") for line in labelmap.splitlines() if line.strip() and not line.startswith("#")]
    return {tuple(int(part) for part in row[1].split(",")): row[0] for row in rows}
