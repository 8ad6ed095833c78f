"""Shortcuts: can the class be told from one plain attribute, the size, the format, the camera, without looking at the image?

For each attribute and each class a small decision tree is cross-validated, and its balanced accuracy compared with chance, which is 0.5
for a class against the others. Decisions:

* Only what is far above chance is told: 0.7 for what has nothing to do with the content (size, format, device), 0.85 for
  brightness and black area, which may be part of the finding. A small set raises no false alarm: the predictions
  must also pass Fisher's exact test at 0.1 %, divided by the number of tests.
* A patient with many images counts once for each class, and never lies on both sides of a fold.
* The training images are judged, for from them a network learns; all images where there are fewer than 100 of them.
* Names of files and folders do not enter a network, so they are notes only; the names of classes and sections are taken
  out of them first.
* The same question about sections (is the test of another size or format?) is a note: it is no fault of the data.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from monai_fpt.data.check.finding import CheckedImage, FPTDataFinding, percent
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.data.split import section_of_name

__all__ = ["find_section_differences", "find_shortcuts"]

_LEAST_TRAINING = 100
_MOST_IMAGES = 20_000
_LEAST_GROUPS = 5
_RARE = 5
_MOST_CATEGORIES = 50
_ALPHA = 0.001
_SEED = 0

_CONTENT = "look whether that belongs to the finding or comes from how the images were made, and if so make them alike"
_NAMES = "that is harmless where names follow the labels; where they follow the source, look for other signs of it in the images"

_Value = str | float | tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Attribute:
    """One thing that can be known of an image without understanding it."""

    name: str
    value_of: Callable[[CheckedImage], _Value]
    severity: str = "warning"
    least: float = 0.7
    mend: str = "a network can learn that in place of the finding; take the classes from the same sources, or make the images alike"


@dataclasses.dataclass(frozen=True)
class _Result:
    """How well one class is told by one attribute."""

    index: int
    score: float
    evidence: tuple[tuple[str, ...], ...]


def find_shortcuts(images: Sequence[CheckedImage], classes: Sequence[str]) -> list[FPTDataFinding]:
    """Attributes that tell the class.

    Args:
        images: the readable images.
        classes: names of the classes.
    """
    training = [image for image in images if image.section == "training"]
    judged = training if len(training) >= _LEAST_TRAINING else images
    present = sorted({label for image in judged for label in image.labels})
    return _told_apart("class", judged, [set(image.labels) for image in judged], present, classes, _attributes(classes))


def find_section_differences(images: Sequence[CheckedImage], classes: Sequence[str]) -> list[FPTDataFinding]:
    """Attributes that tell the section.

    Args:
        images: the readable images.
        classes: names of the classes.
    """
    present = [index for index, name in enumerate(SECTIONS) if any(image.section == name for image in images)]
    if len(present) < 2:
        return []
    notes = [
        dataclasses.replace(attribute, severity="note")
        for attribute in _attributes(classes)
        if attribute.name not in ("file name", "folder")
    ]
    return _told_apart(
        "section", images, [{SECTIONS.index(image.section)} for image in images], present, SECTIONS, notes
    )


def _attributes(classes: Sequence[str]) -> list[_Attribute]:
    return [
        _Attribute("image size", lambda image: (image.probe.facts.width, image.probe.facts.height)),
        _Attribute("file format", lambda image: image.probe.facts.format or "unknown"),
        _Attribute("photometric interpretation", lambda image: image.probe.facts.photometric or "unknown"),
        _Attribute("bits a sample", lambda image: f"{image.probe.facts.bits} bits"),
        _Attribute("grey or colour", lambda image: "colour" if image.probe.colour else "grey"),
        _Attribute("camera or scanner", lambda image: image.probe.facts.device or "unknown"),
        _Attribute("modality", lambda image: image.probe.facts.modality or "unknown"),
        _Attribute("view", lambda image: image.probe.facts.view or "unknown"),
        _Attribute("pixel spacing", lambda image: float(image.probe.facts.spacing[0])),
        _Attribute("mean brightness", lambda image: sum(image.probe.mean) / 3, least=0.85, mend=_CONTENT),
        _Attribute("share of black pixels", lambda image: image.probe.black, least=0.85, mend=_CONTENT),
        _Attribute("file name", lambda image: _name_pattern(image.key, classes), "note", mend=_NAMES),
        _Attribute("folder", lambda image: _folder(image.key, classes), "note", mend=_NAMES),
    ]


def _name_pattern(key: str, classes: Sequence[str]) -> str:
    """A file's name with # for numbers and hexadecimal words and * for names of classes, at most 24 characters.

    Example:
        >>> _name_pattern("a/IMG_0012.png", []), _name_pattern("benign (3).png", ["benign"]), _name_pattern("4a3f00b1.png", [])
        ('IMG_#', '* (#)', '#')
    """
    stem = re.sub(r"#\d+$", "", key).rsplit("/", 1)[-1].split(".")[0]
    for name in sorted(classes, key=len, reverse=True):
        if len(name) > 1:
            stem = re.sub(re.escape(name), "*", stem, flags=re.IGNORECASE)
    stem = re.sub(r"(?<![a-zA-Z])(?=[a-fA-F]*\d)[0-9a-fA-F]{6,}(?![a-zA-Z])", "#", stem)
    return re.sub(r"\d+", "#", stem)[:24]


def _folder(key: str, classes: Sequence[str]) -> str:
    """The folders of a key without those named after a class or a section."""
    known = {name.lower() for name in classes}
    parts = [part for part in key.split("/")[:-1] if part.lower() not in known and not section_of_name(part)]
    return "/".join(parts) or "."


def _told_apart(
    noun: str,
    images: Sequence[CheckedImage],
    members: Sequence[set[int]],
    present: Sequence[int],
    names: Sequence[str],
    attributes: Sequence[_Attribute],
) -> list[FPTDataFinding]:
    """Findings on classes (or sections) that an attribute tells; one for each attribute."""
    order = np.random.default_rng(_SEED).permutation(len(images))[:_MOST_IMAGES]
    images, members = [images[i] for i in order], [members[i] for i in order]
    pair = len(present) == 2 and all(len(member) == 1 for member in members)
    asked = present[:1] if pair else present  # of two that exclude each other, one says it all
    units = [_unit(image) for image in images]
    holders = {index: {u for u, member in zip(units, members, strict=True) if index in member} for index in present}
    small = [index for index in present if len(holders[index]) < _LEAST_GROUPS]
    findings = []
    for attribute in attributes:
        values = [attribute.value_of(image) for image in images]
        if len(set(values)) < 2:
            continue
        results = []
        for index in asked:
            truth = np.array([index in member for member in members])
            once = _once_a_patient(units, truth)
            tests = len(asked) * len(attributes)
            score = _score([values[i] for i in once], truth[once], [units[i] for i in once], tests)
            if score >= attribute.least:
                labels = (names[index], names[present[1]] if pair else "all others")
                results.append(_Result(index, score, _evidence(values, truth, labels)))
        if results:
            told = [names[index] for index in present] if pair else []
            findings.append(_finding(noun, attribute, results, told, names))
    if small and noun == "class":
        text = (
            f"Whether {', '.join(repr(names[i]) for i in small)} can be told by size, format and the like was not tested, for there are "
            f"fewer than {_LEAST_GROUPS} such images (patients, where known); add some to have it tested."
        )
        findings.append(FPTDataFinding("note", "shortcuts_not_tested", text))
    return findings


def _unit(image: CheckedImage) -> str:
    """What counts once: a patient, else a file."""
    return f"group:{image.group}" if image.group else f"file:{image.path}"


def _once_a_patient(units: Sequence[str], truth: npt.NDArray[np.bool_]) -> list[int]:
    """Indices of the first image of every patient inside and outside the class."""
    first: dict[tuple[str, bool], int] = {}
    for index, unit in enumerate(units):
        first.setdefault((unit, bool(truth[index])), index)
    return sorted(first.values())


def _score(values: Sequence[_Value], truth: npt.NDArray[np.bool_], units: Sequence[str], tests: int) -> float:
    """Cross-validated balanced accuracy; 0 where it may be chance or there are too few units for folds."""
    inside, outside = ({u for u, t in zip(units, truth.tolist(), strict=True) if t is flag} for flag in (True, False))
    if min(len(inside), len(outside)) < _LEAST_GROUPS:
        return 0.0
    columns, leaves = _columns(values)
    tree = DecisionTreeClassifier(
        max_leaf_nodes=leaves, min_samples_leaf=3, class_weight="balanced", random_state=_SEED
    )
    folds = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        said = cross_val_predict(tree, columns, truth, cv=folds, groups=list(units)).astype(bool)
    right, wrong = int((said & truth).sum()), int((said & ~truth).sum())
    number, positives = len(truth), int(truth.sum())
    by_chance = hypergeom.sf(right - 1, number, positives, right + wrong)
    balanced = (right / positives + 1 - wrong / (number - positives)) / 2
    return float(balanced) if by_chance * tests < _ALPHA else 0.0


def _columns(values: Sequence[_Value]) -> tuple[npt.NDArray[np.float32], int]:
    """Values as columns for a tree, and the leaves that it may have.

    A size becomes height, width and their ratio beside one column for each frequent size.
    """
    if isinstance(values[0], float):
        return np.array(values, np.float32)[:, None], 8
    frequent = [value for value, count in Counter(values).most_common(_MOST_CATEGORIES) if count >= _RARE]
    columns = [[value == category for value in values] for category in frequent]
    if isinstance(values[0], tuple):
        columns += [[size[0] for size in values], [size[1] for size in values], [size[0] / size[1] for size in values]]  # type: ignore[index,misc,operator]
    if not columns:
        return np.zeros((len(values), 1), np.float32), 2
    return np.array(columns, np.float32).T, 32


def _evidence(
    values: Sequence[_Value], truth: npt.NDArray[np.bool_], names: tuple[str, str]
) -> tuple[tuple[str, ...], ...]:
    """A table that lets a user see it: shares of the values that differ most, or median and middle 80 %."""
    if isinstance(values[0], float):
        numbers = np.array(values, np.float64)
        rows = [("median", *(f"{np.median(numbers[part]):.3g}" for part in (truth, ~truth)))]
        middle = (
            "10 % to 90 %",
            *("{:.3g} to {:.3g}".format(*np.quantile(numbers[part], (0.1, 0.9))) for part in (truth, ~truth)),
        )
        return (("", *names), *rows, middle)
    texts = [f"{value[0]} x {value[1]}" if isinstance(value, tuple) else str(value) for value in values]
    inside, outside = (
        Counter(t for t, flag in zip(texts, truth, strict=True) if flag),
        Counter(t for t, flag in zip(texts, truth, strict=True) if not flag),
    )
    shares = {text: (inside[text] / truth.sum(), outside[text] / (~truth).sum()) for text in set(texts)}
    ranked = sorted(shares, key=lambda text: (-abs(shares[text][0] - shares[text][1]), text))
    shown = [(text, *(percent(share) for share in shares[text])) for text in ranked[:4]]
    rest = [sum(shares[text][side] for text in ranked[4:]) for side in (0, 1)]
    if len(ranked) > 4:
        shown.append((f"{len(ranked) - 4} others", *(percent(share) for share in rest)))
    return (("", *names), *shown)


def _finding(
    noun: str, attribute: _Attribute, results: list[_Result], pair: Sequence[str], names: Sequence[str]
) -> FPTDataFinding:
    """The sentence on one attribute."""
    best = max(results, key=lambda result: result.score)
    plural = {"class": "Classes", "section": "Sections"}[noun]
    if pair:
        who = f"{plural} {pair[0]!r} and {pair[1]!r} can be told apart"
        scores = f"balanced accuracy {best.score:.2f}, chance 0.50"
    else:
        ranked = sorted(results, key=lambda result: -result.score)
        head = noun.capitalize() if len(ranked) == 1 else plural
        who = f"{head} {', '.join(repr(names[result.index]) for result in ranked)} can be told from the others"
        scores = f"balanced accuracy {', '.join(f'{result.score:.2f}' for result in ranked)}, chance 0.50"
    sections = "scores then also tell how a model bears other images; say so, or have the sections dealt again"
    mend = sections if noun == "section" else attribute.mend
    return FPTDataFinding(
        attribute.severity,
        "shortcut" if noun == "class" else "section_difference",
        f"{who} by {attribute.name} alone ({scores}); {mend}.",
        evidence=best.evidence,
    )
