"""Each fault that is put into a clean data set is found, by its name and its images, and nothing else is."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from check_toys import ToySet, picture
from PIL import Image

from monai_fpt.data import FPTDataList
from monai_fpt.data.check import FPTDataReport, check_data_list
from monai_fpt.data.facts import ImageOptions


def as_jpeg(seed: int, quality: int = 80) -> np.ndarray:
    """A picture after a lossy compression."""
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def overexposed(seed: int) -> np.ndarray:
    pixels = picture(seed)
    pixels[10:50, 15:65] = 255
    return pixels


def framed(seed: int, value: int, width: int = 8) -> np.ndarray:
    pixels = picture(seed)
    edge = np.ones(pixels.shape[:2], bool)
    edge[width:-width, width:-width] = False
    pixels[edge] = value
    return pixels


def test_a_clean_set_has_no_finding(clean_set: ToySet) -> None:
    report = clean_set.check()

    assert report.findings == () and report.ok and report.verdict == "ok: no findings"


def copy_across(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("test", "copy.png", picture(0))}


def copy_in_another_container(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("validation", "copy.bmp", picture(0))}


def copy_with_another_label(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("training", "copy.png", picture(0), label=1)}


def copy_within(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("training", "copy.png", picture(0))}


def near_copy_across(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("test", "near.png", as_jpeg(0))}


def near_copy_with_another_label(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("training", "near.png", as_jpeg(0), label=1)}


def near_copy_within(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("training", "near.png", as_jpeg(0))}


def patient_across(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("test", "torn.png", picture(99), group="patient of training0.png")}


def patient_with_two_labels(toys: ToySet) -> set[str]:
    return {"training0.png", toys.add("training", "eye.png", picture(99), 1, group="patient of training0.png")}


def empty_file(toys: ToySet) -> set[str]:
    return {toys.add("training", "empty.png", b"")}


def constant(toys: ToySet) -> set[str]:
    return {toys.add("training", "grey.png", np.full((70, 70, 3), 128, np.uint8))}


def nearly_black(toys: ToySet) -> set[str]:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[40:50, 40:50] = picture(99)[:10, :10]
    return {toys.add("training", "black.png", pixels)}


def clipped(toys: ToySet) -> set[str]:
    return {toys.add("training", "burnt.png", overexposed(99))}


def white_around(toys: ToySet) -> set[str]:
    return {toys.add("training", "framed.png", framed(99, 255))}


def dark(toys: ToySet) -> set[str]:
    return {toys.add("training", "dark.png", picture(99) // 5)}


def flat(toys: ToySet) -> set[str]:
    return {toys.add("training", "flat.png", (np.array([150, 120, 90]) + picture(99) // 20).astype(np.uint8))}


def long(toys: ToySet) -> set[str]:
    return {toys.add("training", "long.png", picture(99, 70, 220))}


def small(toys: ToySet) -> set[str]:
    return {toys.add("training", "small.png", picture(99, 40, 50))}


def grey_among_colour(toys: ToySet) -> set[str]:
    return {toys.add("training", "grey.png", picture(99)[..., 0])}


FAULTS: dict[str, tuple[Callable[[ToySet], set[str]], str]] = {
    "copies_across_sections": (copy_across, "error"),
    "copies_across_sections, another container": (copy_in_another_container, "error"),
    "copies_with_different_labels": (copy_with_another_label, "error"),
    "copies_within_a_section": (copy_within, "warning"),
    "near_copies_across_sections": (near_copy_across, "warning"),
    "near_copies_with_different_labels": (near_copy_with_another_label, "warning"),
    "near_copies_within_a_section": (near_copy_within, "note"),
    "patients_across_sections": (patient_across, "error"),
    "patients_with_several_labels": (patient_with_two_labels, "note"),
    "unreadable": (empty_file, "error"),
    "constant": (constant, "error"),
    "nearly_blank": (nearly_black, "warning"),
    "clipped": (clipped, "warning"),
    "white_background": (white_around, "warning"),
    "dark": (dark, "note"),
    "flat": (flat, "note"),
    "long": (long, "note"),
    "small": (small, "note"),
    "mixed_colour": (grey_among_colour, "note"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_nothing_else(name: str, toy_set: ToySet) -> None:
    spoil, severity = FAULTS[name]
    keys = spoil(toy_set)
    report = toy_set.check()

    assert [(f.check, f.severity) for f in report.findings] == [(name.partition(",")[0], severity)]
    assert set(report.findings[0].keys) == keys
    assert report.ok == (severity != "error")


def test_a_copy_may_be_across_and_conflicting(toy_set: ToySet) -> None:
    toy_set.add("test", "copy.png", picture(0), label=1)

    assert [f.check for f in toy_set.check().findings] == ["copies_with_different_labels", "copies_across_sections"]


def test_sixteen_bits_of_which_twelve_are_used(toy_set: ToySet) -> None:
    toy_set.add("training", "twelve.png", picture(99)[..., 0].astype(np.uint16) * 17)
    by_check = {f.check: f for f in toy_set.check().findings}

    assert by_check["unused_bits"].remarks == {"twelve.png": "12 of 16 bits used"}
    assert set(by_check) == {"unused_bits", "mixed_bits", "mixed_colour"}


def test_black_backgrounds_and_usual_white_ones_are_no_fault(toy_set: ToySet) -> None:
    for number in range(30):
        toy_set.add("training", f"black{number}.png", framed(100 + number, 0, 14), number % 2)
        toy_set.add("training", f"white{number}.png", framed(200 + number, 255), number % 2)

    assert toy_set.check().findings == ()


def test_black_frames_are_not_copies_of_each_other(toy_set: ToySet) -> None:
    for section in ("training", "test"):
        toy_set.add(section, f"{section}_black.png", np.zeros((70, 70, 3), np.uint8))

    assert [f.check for f in toy_set.check().findings] == ["constant"]


def test_slices_of_a_file_are_torn_but_not_copies(toy_set: ToySet) -> None:
    first = Image.fromarray(picture(99))
    first.save(toy_set.root / "stack.tif", save_all=True, append_images=[Image.fromarray(as_jpeg(99))])
    path = str(toy_set.root / "stack.tif")
    for frame, section in enumerate(("training", "test")):
        item = {"image": path, "key": f"stack.tif#{frame}", "frame": frame, "label": 0, "group": f"g{frame}"}
        toy_set.sections[section].append(item)
    report = toy_set.check()

    assert [f.check for f in report.findings] == ["files_across_sections"]
    assert str(toy_set.root) not in str(report)


def test_near_copies_can_be_left_out(toy_set: ToySet) -> None:
    near_copy_across(toy_set)

    assert [f.check for f in toy_set.check(near_duplicates=False).findings] == ["near_copies_not_looked_for"]


def counts_of(report: FPTDataReport, section: str) -> list[int]:
    return [report.sections[section]["classes"][name]["images"] for name in report.classes]


def test_counts_sizes_and_facts(toy_set: ToySet) -> None:
    toy_set.add("training", "wide.jpg", picture(99, 70, 100), 1, group="patient of training1.png")
    report = toy_set.check()

    assert [counts_of(report, s) for s in ("training", "validation", "test")] == [[12, 13], [10, 10], [10, 10]]
    assert report.sections["training"]["patients"] == 24
    assert report.sizes == ((80, 60, "a", 32), (80, 60, "b", 32), (100, 70, "b", 1))
    assert report.facts["format"] == {"PNG": 64, "JPEG": 1}


def test_mean_and_std_are_those_of_all_training_pixels(clean_set: ToySet) -> None:
    squares = [
        np.asarray(Image.fromarray(picture(seed)).resize((64, 64), Image.Resampling.BILINEAR)) / 255
        for seed in range(24)
    ]
    report = clean_set.check()

    assert report.mean == pytest.approx(np.stack(squares).mean(axis=(0, 1, 2)), abs=1e-3)
    assert report.std == pytest.approx(np.stack(squares).std(axis=(0, 1, 2)), abs=1e-3)


def without_class(toys: ToySet, section: str, label: int) -> list[dict[str, object]]:
    return [item for item in toys.sections[section] if item["label"] != label]


@pytest.mark.parametrize(("section", "severity"), [("training", "error"), ("test", "warning")])
def test_a_section_without_a_class(section: str, severity: str, clean_set: ToySet) -> None:
    data = clean_set.data(**{section: without_class(clean_set, section, 1)})
    report = check_data_list(data, progress=False, image_size=64)
    found = {f.check: f for f in report.findings}["class_missing"]

    assert found.severity == severity
    assert found.text.startswith(f"Section {section} has no image of class 'b'")


def test_rare_classes_and_empty_sections_are_noted(clean_set: ToySet) -> None:
    training = clean_set.sections["training"]
    few = [item for item in training if item["label"] == 0] + [item for item in training if item["label"] == 1][:1]
    report = check_data_list(clean_set.data(training=few, test=[]), progress=False, image_size=64)
    texts = {f.check: f.text for f in report.findings}

    assert set(texts) == {"class_small", "class_imbalance", "empty_section"}
    assert "fewer than 10 images of 1 class ('b' 1)" in texts["class_small"]
    assert "'a' has 12 training images and 'b' has 1;" in texts["class_imbalance"]
    assert "no image for test" in texts["empty_section"]


def test_unknown_patients_are_noted(clean_set: ToySet) -> None:
    def anonymous(items: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{name: value for name, value in item.items() if name != "group"} for item in items]

    sections = {name: anonymous(items) for name, items in clean_set.sections.items()}
    none = check_data_list(clean_set.data(**sections), progress=False, image_size=64)
    some = check_data_list(clean_set.data(test=sections["test"]), progress=False, image_size=64)

    assert [f.text.partition(",")[0] for f in none.findings] == ["No patient (group) is known"]
    assert none.sections["training"]["patients"] is None
    assert [f.text.partition(",")[0] for f in some.findings] == ["20 images have no patient (group)"]


def test_an_unlabelled_list_is_checked_as_far_as_it_goes(toy_set: ToySet) -> None:
    copy_within(toy_set)
    items = [{name: value for name, value in i.items() if name != "label"} for i in toy_set.sections["training"]]
    report = check_data_list(FPTDataList((), [], [], items), progress=False, image_size=64)

    assert [f.check for f in report.findings] == ["copies_within_a_section"]
    assert report.mean is None and "images (patients)" in str(report)


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (FPTDataList(("a", "b"), [], [], []), {}, "has no image"),
        (FPTDataList((), [], [], [{"image": "/x", "key": "x"}]), {"image_size": 0}, "image_size is 0"),
    ],
    ids=["no image", "no size"],
)
def test_what_cannot_be_checked_is_refused(data: FPTDataList, options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_data_list(data, progress=False, **options)


def test_reduced_reading_does_not_hide_copies(toy_set: ToySet) -> None:
    pixels = np.asarray(Image.fromarray(picture(99)).resize((640, 480)))
    toy_set.add("training", "big.jpg", pixels)
    decoded = np.asarray(Image.open(toy_set.root / "big.jpg"))
    toy_set.add("test", "big.png", decoded)
    found = toy_set.check(options=ImageOptions(min_size=64)).findings

    assert [f.check for f in found] == ["copies_across_sections"]
    assert "another file with equal pixels" in found[0].remarks["big.png"]
