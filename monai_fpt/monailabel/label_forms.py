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
- A number is an index, but not where classes are named with digits (``"1"``, ``"2"``, ``"3"``): there it is a name, and one
  that would be another class as an index is refused.
- Several numbers are indices, and never marks: ``[0, 0, 1]`` may mean the third of three classes, or the first and the second. So a list that
  repeats a number, or that has a 0 or 1 for each class, is refused.
- That an image is of none of several classes has to be said (``{"labels": []}``, or a prediction); a file in which nothing of
  a class stands is no such answer.
- Names are compared as they are, then without regard to case, for some clients write them in lower case.
- Two classes where classes exclude each other, no class at all, and a name that no class has are errors, in one sentence:
  a reader's work is never dropped or bent silently. Segments of the saliency map and the background are passed over.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SALIENCY_PREFIX", "LabelError", "class_names", "read_label"]

SALIENCY_PREFIX = "saliency"
_PASSED_OVER = ("background", "")
_KEYS = ("label", "class", "labels", "classes")
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
    none_is_said = False
    try:
        if name.endswith((".json", ".geojson")):
            content = json.loads(path.read_text(encoding="utf-8"))
            _refuse_marks(content, classes)
            found = _of_json(content, task)
            none_is_said = _says_none(content)
        elif name.endswith(".txt"):
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            _refuse_marks(found, classes)
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
    found = list(found)
    if task == "multilabel" and not found and not none_is_said:
        raise LabelError(
            f'The label "{path.name}" names no class; if the image is of none of {", ".join(classes)}, send JSON {{"labels": []}}.'
        )
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
    text = str(value).strip()
    if any(name.strip().isdigit() for name in classes):
        if isinstance(value, int) and text in classes and classes.index(text) != value and value < len(classes):
            raise LabelError(
                f"The number {value} is the name of one class and the index of another ({classes[value]!r}); send the name as text, "
                f'"{value}".'
            )
        return text if text in classes else None
    if isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else None
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
    said = {key: _as_list(content[key]) for key in _KEYS if content.get(key) is not None}
    if "group" in content and isinstance(content.get("label"), Mapping) and "name" not in content["label"]:
        return [content["group"]]  # DSA's label is a caption
    if isinstance(content.get("label"), Mapping) and set(content["label"]) == {"value"}:
        raise LabelError(
            f"An annotation of DSA has the caption {str(content['label']['value'])[:60]!r} and no group; put it into the group of a class."
        )
    if said:
        several = [value for key in ("labels", "classes") if key in said for value in said[key]]
        if task == "multilabel" and {"labels", "classes"} & set(said) and "prediction" in content:
            return (
                several  # an answer of this server: its "label" is the most probable class, which may be none of them
            )
        values = [value for part in said.values() for value in part]
        if len(said) > 1 and any({str(v) for v in part} != {str(v) for v in values} for part in said.values()):
            raise LabelError(f"A JSON label says different things under {' and '.join(said)}; send one of them.")
        return next(iter(said.values()))
    if "prediction" in content:
        scores = {str(part["label"]): float(part["score"]) for part in content["prediction"]}
        if task == "multilabel":
            return [name for name, score in scores.items() if score >= 0.5]
        return [max(scores, key=lambda name: scores[name])] if scores else []
    if content.get("type") == "FeatureCollection":
        return [name for part in content["features"] for name in _of_json(part, task)]
    if content.get("type") == "Feature":
        classification = content.get("properties", {}).get("classification")
        return _as_list(classification.get("name") or classification.get("names", [])) if classification else []
    parts = [content[key] for key in ("annotation", "annotations", "elements", "shapes", "tags") if key in content]
    if parts:
        return [name for part in parts for name in _of_json(part, task)]
    if "group" in content:
        return [content["group"]]
    raise LabelError('A JSON label says nothing of a class; send {"label": "name of the class"}.')


def _refuse_marks(content: Any, classes: Sequence[str]) -> None:
    """Numbers of which it cannot be told whether they are indices, or a 0 or 1 for each class."""
    lists = [content] if isinstance(content, list) else []
    if isinstance(content, Mapping):
        lists += [content[key] for key in _KEYS if isinstance(content.get(key), list)]
    for values in lists:
        texts = [str(value).strip() for value in values if not isinstance(value, bool)]
        if not texts or len(texts) != len(values) or not all(re.fullmatch(r"[0-9]+(\.0+)?", text) for text in texts):
            continue
        marks = len(texts) == len(classes) and {float(text) for text in texts} <= {0.0, 1.0}
        if marks or len(set(texts)) < len(texts):
            raise LabelError(
                f"A label gives the numbers {', '.join(texts[:20])}, which may be indices of classes or a 0 or 1 for each; send names, for example "
                f'{{"labels": ["{classes[0]}"]}}.'
            )


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, Mapping) and "name" in value:
        value = value["name"]
    return list(value) if isinstance(value, list) else [value]


def _says_none(content: Any) -> bool:
    """Whether JSON says that an image is of no class, and does not merely say none."""
    if not isinstance(content, Mapping):
        return False
    return content.get("labels") == [] or content.get("classes") == [] or "prediction" in content


def _of_xml(root: ET.Element) -> list[str]:
    images = [node.get("name") or "" for node in root.iter("image")]
    if len(images) > 1:
        raise LabelError(
            f"An XML label is of {len(images)} images ({', '.join(images[:3])}); export the annotations of one."
        )
    groups = [node.get("PartOfGroup") or "" for node in root.iter("Annotation")]
    named = [group for group in groups if group != "None"]  # ASAP's word for an annotation that is in no group
    for kind in ("tag", "box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid"):
        named += [node.get("label") or "" for node in root.iter(kind)]
    return [name for name in named if not _passed_over(name)]


def _of_map(path: Path, info: Mapping[str, Any]) -> list[str]:
    colours = _labelmap(info)
    layers = _layers(path, bool(colours))
    return [name for values, names in layers for name in _of_layer(path, values, names, info, colours, len(layers))]


def _of_layer(
    path: Path,
    values: npt.NDArray[Any],
    names: dict[int, str],
    info: Mapping[str, Any],
    colours: dict[tuple[int, ...], str],
    layers: int,
) -> list[str]:
    if values.ndim == 3 and values.shape[-1] in (3, 4) and colours:
        present = {tuple(map(int, colour[:3])) for colour in np.unique(values.reshape(-1, values.shape[-1]), axis=0)}
        named = [colours.get(colour) for colour in sorted(present)]
        if None in named:
            raise LabelError(
                f'The label map "{path.name}" has colours that its labelmap does not name; export it again.'
            )
        return [name for name in named if name and not _passed_over(name)]
    sent = _names_of_values(info)
    clash = [
        value for value in names if layers == 1 and sent.get(value, names[value]).casefold() != names[value].casefold()
    ]
    if clash:
        raise LabelError(
            f'The label map "{path.name}" calls the value {clash[0]} {names[clash[0]]!r} and what was sent with it {sent[clash[0]]!r}; '
            "send one name."
        )
    names = names if layers > 1 else names | sent  # in layers a value means another thing in each
    present_values = [int(value) for value in np.unique(values) if value != 0]
    if any(value != int(value) for value in np.unique(values).tolist()):
        raise LabelError(f'The label map "{path.name}" has values that are no whole numbers; save it as a label map.')
    unnamed = [value for value in present_values if value not in names]
    if unnamed:
        raise LabelError(
            f'The label map "{path.name}" has the value {unnamed[0]}, and nothing says which class that is; send label_info or '
            "label_names with it, or name the segments."
        )
    return [names[value] for value in present_values if not _passed_over(names[value])]


def _passed_over(name: str) -> bool:
    return name.strip().casefold() in _PASSED_OVER or name.casefold().startswith(SALIENCY_PREFIX)


def _layers(path: Path, coloured: bool) -> list[tuple[npt.NDArray[Any], dict[int, str]]]:
    """Pixels, colours in the last axis, and names by value that the file itself has; for each layer of 3D Slicer's."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        import nrrd

        pixels, header = nrrd.read(str(path))
        segments = [key[:-5] for key in header if key.startswith("Segment") and key.endswith("_Name")]
        named: dict[int, dict[int, str]] = {}
        for segment in segments:
            if f"{segment}_LabelValue" in header:
                layer = named.setdefault(int(header.get(f"{segment}_Layer", 0)), {})
                layer[int(header[f"{segment}_LabelValue"])] = str(header[f"{segment}_Name"])
        if "list" in (header.get("kinds") or [])[:1]:
            return [(np.asarray(part), named.get(number, {})) for number, part in enumerate(pixels)]
        if set(named) - {0}:
            raise LabelError(f'The label map "{path.name}" names layers that it does not have; save it again.')
        return [(np.asarray(pixels), named.get(0, {}))]
    if name.endswith((".nii", ".nii.gz")):
        import nibabel

        return [(np.asarray(nibabel.load(path).dataobj), {})]
    if name.endswith((".mha", ".mhd")):
        import itk

        return [(np.asarray(itk.array_from_image(itk.imread(str(path)))), {})]
    from PIL import Image

    with Image.open(path) as image:
        return [(np.asarray(image.convert("RGB") if coloured and image.mode == "P" else image), {})]


def _names_of_values(info: Mapping[str, Any]) -> dict[int, str]:
    """Names by value that a client sent, also within ``params``."""
    named: dict[int, str] = {}
    for source in (info.get("params"), info):
        if not isinstance(source, Mapping):
            continue
        label_names = source.get("label_names")
        if isinstance(label_names, Mapping):
            _name(named, {int(value): str(name) for name, value in label_names.items()})
        label_info = source.get("label_info")
        if isinstance(label_info, Sequence) and not isinstance(label_info, str):
            for number, entry in enumerate(label_info, start=1):
                if isinstance(entry, Mapping) and "name" in entry:
                    value = next(
                        (entry[key] for key in ("labelValue", "label_value", "value", "idx") if key in entry), number
                    )
                    _name(named, {int(value): str(entry["name"])})
    return named


def _name(named: dict[int, str], more: Mapping[int, str]) -> None:
    for value, name in more.items():
        if named.setdefault(value, name).casefold() != name.casefold():
            raise LabelError(
                f"The value {value} of a label map is called {named[value]!r} and {name!r} by what was sent with it; send one of "
                "label_info and label_names."
            )


def _labelmap(info: Mapping[str, Any]) -> dict[tuple[int, ...], str]:
    """CVAT's ``labelmap.txt`` (``name:r,g,b:parts:actions``), as text or as a mapping of names to colours."""
    labelmap = info.get("labelmap")
    if isinstance(labelmap, Mapping):
        return {tuple(int(part) for part in colour): str(name) for name, colour in labelmap.items()}
    if not isinstance(labelmap, str):
        return {}
    rows = [line.split(":") for line in labelmap.splitlines() if line.strip() and not line.startswith("#")]
    return {tuple(int(part) for part in row[1].split(",")): row[0] for row in rows}
