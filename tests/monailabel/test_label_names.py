"""What a client sends becomes a path within the folder, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_fpt.monailabel.names import checked_id, checked_tag, label_suffix, path_within


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        "/etc/passwd",
        "../a.png",
        "a/../../b.png",
        "a//b.png",
        "./a.png",
        ".hidden.png",
        "a/.b/c.png",
        "a\\b.png",
        "C:a.png",
    ]
    + ["labels/final/a.png", "a\0.png", "a\n.png", "x" * 600],
)
def test_an_id_that_leaves_the_folder_or_hides_in_it_is_refused(image_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be an image's id"):
        checked_id(image_id)


@pytest.mark.parametrize("image_id", ["a.png", "ward 1/größe.DCM", "1.2.840.113619/1-1", "labels.png"])
def test_an_id_within_the_folder_is_a_path_below_it(image_id: str) -> None:
    assert path_within(Path("/studies"), checked_id(image_id)) == Path("/studies") / image_id


@pytest.mark.parametrize("tag", ["", "../x", "a/b", ".info", "final ", "a" * 65, "final\n"])
def test_a_tag_that_is_no_plain_word_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="cannot be a label's tag"):
        checked_tag(tag)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("l.json", ".json"), ("a.1.2.JSON", ".json"), ("x.nii.gz", ".nii.gz"), ("s.seg.nrrd", ".seg.nrrd")],
)
def test_a_labels_suffix_is_the_one_that_says_its_form(name: str, suffix: str) -> None:
    assert label_suffix(name) == suffix


@pytest.mark.parametrize("name", ["label", "", "label.", "a.b/c"])
def test_a_label_without_a_suffix_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no suffix"):
        label_suffix(name)
