"""Labels of every client become classes, and what is no class is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_toys import CLASSES, label_file
from PIL import Image

from monai_fpt.monailabel.label_forms import LabelError, class_names, read_label

ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="saliency_50" Type="Polygon" PartOfGroup="saliency_50"><Coordinates/></Annotation>
<Annotation Name="x" Type="Polygon" PartOfGroup="malignant"><Coordinates/></Annotation>
</Annotations><AnnotationGroups><Group Name="benign" PartOfGroup="None"/></AnnotationGroups></ASAP_Annotations>"""
CVAT = '<annotations><image id="0" name="a.png"><tag label="malignant" source="manual"/></image></annotations>'
GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "geometry": {}, "properties": {"classification": {"name": "malignant", "color": [1, 2, 3]}}}
    ],
}
ANSWER = {"prediction": [{"idx": 0, "label": "benign", "score": 0.4}, {"idx": 1, "label": "malignant", "score": 0.6}]}


@pytest.mark.parametrize(
    "content",
    [
        {"label": "malignant"},
        {"label": 1},
        {"label": "MALIGNANT "},
        {"label": "1"},
        {"labels": ["malignant"]},
        {"class": "malignant"},
        {"label": {"name": "malignant"}},
        "malignant",
        1,
        ANSWER,
        {**ANSWER, "label": "malignant", "uncertainty": 0.1},
        GEOJSON,
        {"type": "Feature", "properties": {"classification": {"names": ["malignant"], "color": [1, 2, 3]}}},
        {"annotation": {"elements": [{"label": "malignant", "contours": []}]}},
        {"elements": [{"group": "malignant", "type": "polyline"}]},
        [{"label": "malignant", "type": "rectangle", "points": [0, 0, 1, 1]}],
        {"tags": [{"label": "malignant"}], "shapes": []},
    ],
    ids=lambda content: str(content)[:40],
)
def test_json_of_every_client_names_its_class(content: Any, tmp_path: Path) -> None:
    import json

    assert read_label(label_file(tmp_path, json.dumps(content)), CLASSES) == ("malignant",)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "malignant\n"), ("a.txt", "1"), ("a.xml", ASAP), ("a.xml", CVAT)],
    ids=["name", "index", "asap", "cvat"],
)
def test_text_and_xml_name_their_class(name: str, text: str, tmp_path: Path) -> None:
    assert read_label(label_file(tmp_path, text, name), CLASSES) == ("malignant",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"label": "melanoma"}', "'melanoma', which is no class"),
        ('{"label": 2}', "no class of this model; its classes are benign, malignant"),
        ('{"label": true}', "no class"),
        ('{"label": -1}', "no class"),
        ('{"labels": []}', "names no class"),
        ('{"labels": ["benign", "malignant"]}', "2 classes"),
        ("{}", "says nothing of a class"),
        ("null", "neither a name nor an object"),
        ("{broken", "cannot be read"),
        (
            '{"elements": [{"label": {"value": "malignant"}, "type": "rectangle"}]}',
            "the caption 'malignant' and no group",
        ),
        ("\udcff".encode("utf-8", "surrogatepass"), "cannot be read"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_label_that_says_no_class_is_refused_with_the_reason(content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=says):
        read_label(label_file(tmp_path, content), CLASSES)


def test_an_annotation_in_no_group_names_no_class(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="names no class"):
        read_label(
            label_file(tmp_path, ASAP.replace('PartOfGroup="malignant"', 'PartOfGroup="None"'), "a.xml"), CLASSES
        )


def test_several_labels_may_be_any_number_and_come_in_the_order_of_the_classes(tmp_path: Path) -> None:
    both = label_file(tmp_path, {"labels": ["malignant", "benign"]})
    none = label_file(tmp_path / "none", {"labels": []})

    assert read_label(both, CLASSES, "multilabel") == CLASSES
    assert read_label(none, CLASSES, "multilabel") == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.json", {"labels": [0, 0, 1]}),
        ("l.json", {"labels": [1, 0, 0]}),
        ("l.json", {"classes": [0.0, 0.0, 1.0]}),
        ("l.json", [0, 1, 1]),
        ("l.json", {"label": ["0", "1", "0"]}),
        ("l.json", {"labels": [2, 2]}),
        ("l.txt", "0\n0\n1\n"),
    ],
    ids=str,
)
def test_marks_are_never_taken_for_indices(name: str, content: Any, tmp_path: Path) -> None:
    findings = ("edema", "effusion", "nodule")
    with pytest.raises(LabelError, match="may be indices of classes or a 0 or 1 for each; send names"):
        read_label(label_file(tmp_path, content, name), findings, "multilabel")

    assert read_label(label_file(tmp_path, {"labels": [0, 2]}), findings, "multilabel") == ("edema", "nodule")
    assert read_label(label_file(tmp_path, {"labels": ["nodule", "nodule"]}), findings, "multilabel") == ("nodule",)


def test_a_one_for_each_of_two_findings_is_refused_as_well(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="send names"):
        read_label(label_file(tmp_path, {"labels": [0, 1]}), CLASSES, "multilabel")


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    assert class_names(["a"], ["A", "a"]) == ("a",)
    with pytest.raises(LabelError, match="no class"):
        class_names(["AB"], ["Ab", "aB"])


def mask(path: Path, value: int) -> Path:
    values = np.zeros((9, 7), dtype=np.uint8)
    values[2:4, 3:5] = value
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    "info",
    [
        {"label_names": {"benign": 1, "malignant": 2}},
        {"params": {"label_names": {"benign": 1, "malignant": 2}}},
        {"label_info": [{"name": "benign"}, {"name": "malignant"}]},
        {"label_info": [{"name": "malignant", "idx": 2}]},
        {"label_info": [{"name": "saliency_25"}, {"name": "malignant", "labelValue": 2}]},
    ],
    ids=["label_names", "in params", "label_info in order", "idx", "labelValue"],
)
def test_a_dab_in_a_segment_named_after_a_class_is_that_class(info: dict[str, Any], tmp_path: Path) -> None:
    assert read_label(mask(tmp_path / "a.png", 2), CLASSES, info=info) == ("malignant",)


def test_a_value_that_nothing_names_is_refused_and_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="value 1, and nothing says which class"):
        read_label(mask(tmp_path / "a.png", 1), CLASSES)


def test_saliency_bands_and_background_alone_name_no_class(tmp_path: Path) -> None:
    info = {"label_names": {"background": 0, "saliency_25": 1}}

    with pytest.raises(LabelError, match="names no class"):
        read_label(mask(tmp_path / "a.png", 1), CLASSES, info=info)


def test_colours_of_a_cvat_mask_are_named_by_its_labelmap(tmp_path: Path) -> None:
    pixels = np.zeros((9, 7, 3), dtype=np.uint8)
    pixels[1, 1] = (128, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmalignant:128,0,0::\n"

    assert read_label(tmp_path / "a.png", CLASSES, info={"labelmap": labelmap}) == ("malignant",)
    with pytest.raises(LabelError, match="colours that its labelmap does not name"):
        read_label(tmp_path / "a.png", CLASSES, info={"labelmap": {"background": [0, 0, 0]}})


def test_a_nifti_label_map_is_read(tmp_path: Path) -> None:
    import nibabel

    values = np.zeros((7, 9, 1), dtype=np.uint8)
    values[3, 2, 0] = 2
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")

    assert read_label(tmp_path / "a.nii.gz", CLASSES, info={"label_names": {"malignant": 2}}) == ("malignant",)


def test_a_segmentation_of_slicer_names_its_segments_itself(tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd", reason="pynrrd comes with MONAI Label")
    values = np.zeros((7, 9, 1), dtype=np.uint8)
    values[3, 2, 0] = 4
    header = {"Segment0_Name": "malignant", "Segment0_LabelValue": "4", "Segment0_ID": "s"}
    nrrd.write(str(tmp_path / "a.seg.nrrd"), values, header)

    assert read_label(tmp_path / "a.seg.nrrd", CLASSES) == ("malignant",)
