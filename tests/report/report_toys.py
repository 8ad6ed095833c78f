"""Predictions drawn at random, for tests of the report."""

from __future__ import annotations

import numpy as np

from monai_fpt.metrics import FPTPredictions

KINDS = ("binary", "multiclass", "ordered", "multilabel")


def drawn_predictions(
    kind: str = "binary", images: int = 120, *, seed: int = 0, per_patient: int = 2, name: str = "image"
) -> FPTPredictions:
    """Labels that logits know something of; images of a patient share their label."""
    random = np.random.default_rng(seed)
    classes = ("benign", "malignant") if kind == "binary" else ("none", "mild", "severe")
    count = len(classes)
    patients = np.arange(images) // per_patient
    if kind == "multilabel":
        labels = random.integers(0, 2, (patients.max() + 1, count))[patients]
        logits = random.normal(size=(images, count)) * 2 + (labels * 2 - 1)
    else:
        labels = random.choice(count, size=patients.max() + 1, p=[0.5, 0.5] if count == 2 else [0.5, 0.3, 0.2])[
            patients
        ]
        logits = random.normal(size=(images, count)) * 2
        logits[np.arange(images), labels] += 2
    return FPTPredictions(
        keys=tuple(f"{name}{number}.png" for number in range(images)),
        groups=tuple(f"{name} patient {number}" for number in patients),
        labels=labels,
        logits=np.round(logits, 1),  # ties
        classes=classes,
        task="multilabel" if kind == "multilabel" else "multiclass",
        ordered=kind == "ordered",
        facts={
            "sex": tuple(random.choice(["f", "m", ""], images).tolist()),
            "age": tuple(random.integers(20, 95, images).astype(str).tolist()),
        },
    )
