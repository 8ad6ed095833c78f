"""Figures of a finished test: where classes are confused, and the ROC curves.

Pure functions of predictions and labels to a matplotlib ``Figure`` with the Agg canvas: no pyplot, so neither global
state nor a display is needed and nothing has to be closed. Sizes grow with the number of classes so that seven names
stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_curve

from monai_fpt.metrics import fpt_class_auc
from monai_fpt.metrics.inputs import as_array, as_one_hot, checked_inputs

__all__ = ["confusion_figure", "roc_figure"]

DPI = 120
NAME_LIMIT = 22


def confusion_figure(labels: Any, predictions: Any, classes: Sequence[str]) -> Figure:
    """Counts of every (label, prediction) pair and their share of the label's row, which is also the colour.

    Args:
        labels: (N,) class numbers.
        predictions: (N,) class numbers.
        classes: K names.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: a class number is not one of 0..K-1.
    """
    truth, decided = as_array(labels).astype(np.int64), as_array(predictions).astype(np.int64)
    count = len(classes)
    both = np.concatenate([truth, decided])
    if both.size and not 0 <= both.min() <= both.max() < count:
        raise ValueError(f"class numbers must be 0 to {count - 1} but reach from {both.min()} to {both.max()}.")
    if both.size:
        counts = confusion_matrix(truth, decided, labels=np.arange(count))
    else:
        counts = np.zeros((count, count), dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = 2.6 + 0.85 * count
    figure, axes = _canvas(side + 1.2, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{number}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > 0.55 else "0.15" if number else "0.65",
        )
    names = [_short(name) for name in classes]
    axes.set_xticks(range(count), names, rotation=0 if _fits(names) else 40, ha="center" if _fits(names) else "right")
    axes.set_yticks(range(count), [f"{name} (n={n})" for name, n in zip(names, counts.sum(axis=1), strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="share of the label").outline.set_visible(False)
    return figure


def roc_figure(probabilities: Any, labels: Any, classes: Sequence[str], task: str) -> Figure:
    """ROC curves of every class against the rest, with the area under each in the legend.

    Of two exclusive classes only the second is drawn, the first is its mirror. A class that never (or always) occurs
    has no curve and says so in the legend.

    Args:
        probabilities: (N, K) in [0, 1], for multiclass summing to 1 in every row.
        labels: (N,) class numbers or (N, K) zeros and ones.
        classes: K names.
        task: ``"multiclass"`` or ``"multilabel"``.

    Raises:
        ValueError: the inputs are no probabilities or do not fit each other.
    """
    matrix, truth = checked_inputs(probabilities, labels, task)
    if matrix.shape[1] != len(classes):
        raise ValueError(f"there are {matrix.shape[1]} probabilities a sample but {len(classes)} class names.")
    one_hot = as_one_hot(truth, matrix.shape[1])
    areas = fpt_class_auc(matrix, truth, task=task).tolist()
    drawn = [1] if task == "multiclass" and len(classes) == 2 else list(range(len(classes)))

    figure, axes = _canvas(8.6, 5.2)
    colours = colormaps["tab10" if len(drawn) <= 10 else "tab20"]
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle=":")
    for place, k in enumerate(drawn):
        if np.isnan(areas[k]):
            axes.plot([], [], color="0.6", label=f"{_short(classes[k])}: undefined")
            continue
        false_rate, true_rate, _ = roc_curve(one_hot[:, k], matrix[:, k])
        label = f"{_short(classes[k])}: AUC {areas[k]:.3f}"
        axes.plot(false_rate, true_rate, color=colours(place % colours.N), linewidth=1.8, label=label)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="compressed")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _short(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…"


def _fits(names: Sequence[str]) -> bool:
    return max(map(len, names), default=0) <= 9
