"""Which epoch of a training to keep where validation images are few: the best of all, or the last? For docs/results.md.

Every seed is trained once by the bundle's configuration; after every epoch the validation and the test section are read. Then each rule
chooses by the validation section alone, and the table tells the test AUC of what it chose: mean over the seeds, standard deviation, worst.
"All triples" averages the logits of every three of the seeds and chooses one epoch for them, as a network of three members (all with a side
network) does.

    python -m benchmarks.choice_of_epoch DATASET_DIR --backbone vit_tiny_patch16_224 --backbone_weights vit_tiny.safetensors --image_size 224
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.two_classes import recipe_options, two_class_recipe

_Scores = NDArray[np.float64]  # (epochs, images): logit of the second class minus that of the first
RECIPES: dict[str, dict[str, Any]] = {"the paper's": {}, "a gain of one": {"network_config#side_init": "fan_in"}}


def auc(labels: Any, scores: _Scores) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def best(validation: _Scores, labels: Any) -> _Scores:
    """Weight of every epoch: the first of the highest AUC."""
    return _one(len(validation), int(np.argmax([auc(labels, scores) for scores in validation])))


def least_loss(validation: _Scores, labels: Any) -> _Scores:
    """The epoch of the least cross-entropy."""
    signs = np.where(np.asarray(labels) == 1, -1, 1)
    return _one(len(validation), int(np.argmin(np.logaddexp(0, signs * validation).mean(axis=1))))


def last(validation: _Scores, labels: Any) -> _Scores:
    """The last epoch."""
    return _one(len(validation), len(validation) - 1)


def last_half(validation: _Scores, labels: Any) -> _Scores:
    """The mean of the logits of the last half."""
    weights = np.zeros(len(validation))
    weights[len(validation) // 2 :] = 1 / (len(validation) - len(validation) // 2)
    return weights


RULES: dict[str, Callable[[_Scores, Any], _Scores]] = {
    "best validation AUC": best,
    "least validation loss": least_loss,
    "last epoch": last,
    "mean of the last half": last_half,
}


def _one(count: int, place: int) -> _Scores:
    weights = np.zeros(count)
    weights[place] = 1
    return weights


def every_epoch(recipe: Any, changes: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Train; scores (seeds, epochs, images) and labels of both sections."""
    from monai_fpt.experiments.member import FPTMemberPlan, make_member
    from monai_fpt.experiments.training import _labels, _Run

    members: list[Any] = []
    for seed in range(seeds):
        plan = FPTMemberPlan(f"seed {seed}", recipe.data, {"seed": seed, **changes})
        members.append(make_member(plan, recipe, members[0] if members else None))
    run = _Run(members, together=recipe.device.type != "cpu")
    read: dict[str, list[_Scores]] = {"validation": [], "test": []}
    for epoch in range(1, members[0].max_epochs + 1):
        losses = run.train_epoch(epoch)
        for section, found in read.items():
            logits = run.read(section)
            found.append(np.stack([(logits[s][:, 1] - logits[s][:, 0]).numpy() for s in range(seeds)]))
        print(f"epoch {epoch}/{members[0].max_epochs}  loss {np.mean(losses):.4f}", flush=True)
    scores = {section: np.stack(found, axis=1) for section, found in read.items()}
    return {section: (values, _labels(members[0], section)) for section, values in scores.items()}


def table(found: dict[str, Any]) -> str:
    """A row a rule."""
    (validation, labels), (test, test_labels) = found["validation"], found["test"]
    rows = ["| kept | test AUC (sd), worst | all triples |", "|---|---|---|"]
    groups: dict[int, list[tuple[int, ...]]] = {
        1: [(s,) for s in range(len(test))],
        3: list(itertools.combinations(range(len(test)), 3)),
    }
    for name, rule in RULES.items():
        cells = []
        for chosen in groups.values():
            means = [(validation[list(c)].mean(axis=0), test[list(c)].mean(axis=0)) for c in chosen]
            values = np.array([auc(test_labels, rule(v, labels) @ t) for v, t in means])
            cells.append(f"{values.mean():.3f} ({values.std(ddof=1):.3f}), {values.min():.3f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Train all seeds of all recipes and print a table each."""
    parser = recipe_options(__doc__)
    parser.add_argument("--seeds", type=int, default=9)
    given = parser.parse_args()
    if given.seeds < 4:
        parser.error(f"--seeds is {given.seeds}, but triples to compare need at least 4.")

    with two_class_recipe(given, "choice_of_epoch", without=["seeds"]) as recipe:
        for name, changes in RECIPES.items():
            print(f"\n{name}, {given.seeds} seeds\n\n{table(every_epoch(recipe, changes, given.seeds))}\n", flush=True)


if __name__ == "__main__":
    main()
