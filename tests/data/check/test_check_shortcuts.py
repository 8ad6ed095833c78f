"""A class that is told by something beside the picture is found; chance is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from check_toys import checked

from monai_fpt.data.check.finding import CheckedImage
from monai_fpt.data.check.shortcuts import find_section_differences, find_shortcuts


def two_classes(inside: dict[str, Any], outside: dict[str, Any], swapped: int = 5) -> list[CheckedImage]:
    """50 images of each class; ``swapped`` of each have the other's attribute."""
    return [
        checked(2 * n + label, label, **(inside if (label == 0) != (n < swapped) else outside))
        for n in range(50)
        for label in (0, 1)
    ]


ATTRIBUTES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image size": ({"height": 640}, {"height": 641}),
    "file format": ({"format": "JPEG"}, {"format": "PNG"}),
    "photometric interpretation": ({"photometric": "MONOCHROME1"}, {"photometric": "MONOCHROME2"}),
    "bits a sample": ({"bits": 8}, {"bits": 12}),
    "grey or colour": ({"colour": False}, {"colour": True}),
    "camera or scanner": ({"device": "A 1"}, {"device": ""}),
    "modality": ({"modality": "CR"}, {"modality": "DX"}),
    "view": ({"view": "AP"}, {"view": "PA"}),
    "pixel spacing": ({"spacing": (0.1, 0.1)}, {"spacing": (0.14, 0.14)}),
    "mean brightness": ({"mean": (0.3, 0.3, 0.3)}, {"mean": (0.4, 0.4, 0.4)}),
    "share of black pixels": ({"black": 0.1}, {"black": 0.3}),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_tells_the_class_is_a_warning(name: str) -> None:
    (found,) = find_shortcuts(two_classes(*ATTRIBUTES[name]), ["ill", "well"])

    assert (found.severity, found.check) == ("warning", "shortcut")
    # 45 of 50 are right in each class
    assert f"Classes 'ill' and 'well' can be told apart by {name} alone (balanced accuracy 0.90, chance" in found.text


def test_the_evidence_is_the_shares_of_the_values() -> None:
    (found,) = find_shortcuts(two_classes(*ATTRIBUTES["file format"]), ["ill", "well"])

    assert found.evidence == (("", "ill", "well"), ("JPEG", "90 %", "10 %"), ("PNG", "10 %", "90 %"))


@pytest.mark.parametrize(("name", "swapped"), [("file format", 16), ("mean brightness", 9)])
def test_weak_relations_are_not_told(name: str, swapped: int) -> None:
    assert find_shortcuts(two_classes(*ATTRIBUTES[name], swapped=swapped), ["ill", "well"]) == []


@pytest.mark.parametrize("number", [12, 30, 60])
def test_chance_raises_no_alarm(number: int) -> None:
    rng = np.random.default_rng(number)
    found = []
    for _ in range(4):
        images = [
            checked(
                n,
                int(rng.integers(3)),
                format=str(rng.choice(["PNG", "JPEG"])),
                device=f"camera {rng.integers(8)}",
                height=int(rng.integers(400, 1000)),
                width=int(rng.integers(400, 1000)),
                mean=(float(rng.random()),) * 3,
                black=float(rng.random()),
                section=str(rng.choice(["training", "validation", "test"])),
            )
            for n in range(number)
        ]
        found += [f for f in find_shortcuts(images, ["a", "b", "c"]) if f.check == "shortcut"]
        found += find_section_differences(images, ["a", "b", "c"])

    assert found == []


def test_one_class_of_many_is_named() -> None:
    images = [checked(n, n % 5, format="JPEG" if n % 5 == 3 else "PNG") for n in range(150)]
    (found,) = find_shortcuts(images, list("abcde"))

    assert "Class 'd' can be told from the others by file format alone (balanced accuracy 1.00, chance" in found.text
    assert found.evidence[0] == ("", "d", "all others")


def test_several_labels_are_asked_one_by_one() -> None:
    images = [checked(n, ((), (0,), (1,), (0, 1))[n % 4], format="JPEG" if n % 4 > 1 else "PNG") for n in range(120)]
    (found,) = find_shortcuts(images, ["a", "b"])

    assert "Class 'b' can be told from the others by file format alone" in found.text


def test_a_patient_with_many_images_counts_once() -> None:
    """Two scanners of four patients each way prove nothing, however many images there are."""
    images = [checked(n, n % 2, group=f"p{n % 8}", device=f"scanner {n % 2}") for n in range(400)]
    (found,) = find_shortcuts(images, ["a", "b"])

    assert found.check == "shortcuts_not_tested"
    assert "'a', 'b'" in found.text


def test_names_of_files_are_notes() -> None:
    images = [checked(n, n % 2, key=f"{'site_x' if n % 2 else 'IMG'}_{n:04}.png") for n in range(100)]
    (found,) = find_shortcuts(images, ["a", "b"])

    assert (found.severity, found.evidence[1][0]) == ("note", "IMG_#")


@pytest.mark.parametrize(
    "key",
    ["train/{label}/{n}.png", "{label}/{label} ({n}).png", "x/{label}_{n:08x}.png", "x/CHNCXR_{n:04}_{index}.png"],
)
def test_names_of_classes_and_sections_in_names_are_no_shortcut(key: str) -> None:
    labels = ("benign", "malignant")
    images = [checked(n, n % 2, key=key.format(label=labels[n % 2], index=n % 2, n=n)) for n in range(100)]

    assert find_shortcuts(images, labels) == []


def test_the_training_images_decide_where_there_are_enough() -> None:
    training = two_classes(*ATTRIBUTES["file format"], swapped=0)
    test = [checked(1000 + n, n % 2, section="test", format="TIFF") for n in range(300)]
    found = find_shortcuts([*training, *test], ["ill", "well"])

    assert "(balanced accuracy 1.00, chance" in found[0].text


def test_a_section_of_another_kind_is_a_note() -> None:
    images = [checked(n, n % 2, section=("training", "test")[n // 60], height=(80, 90)[n // 60]) for n in range(100)]
    (found,) = find_section_differences(images, ["a", "b"])

    assert (found.severity, found.check) == ("note", "section_difference")
    assert "Sections 'training' and 'test' can be told apart by image size alone (balanced accuracy 1.00" in found.text
