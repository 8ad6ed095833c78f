"""How many side networks and how many linear members should answer together? For docs/results.md.

Cross-validation inside the training and validation sections; the test section is not read. In every fold some side networks (a gain of one)
and some linear members are trained, each as it would be as a member of one network: batches of its own, clipped alone, the last epoch.
Then networks of ``a`` side networks and ``b`` linear members are put together from them in every way there is, and the table tells their AUC on
the fold left out (mean over folds and ways), the standard deviation that another seed would make, how far the worst of ten would lie below their mean
(1.54 standard deviations), and the seconds, a side network's being 1.

Ways overlap, so that they differ less than networks of other seeds would. Their variance is taken apart into that of the side networks and that of
the linear members, and each is divided by what drawing ``a`` of ``n`` leaves of it, 1 - a / n; where all of a kind are taken nothing can be said
("-").

    python -m benchmarks.mixture DATASET_DIR --backbone vit_tiny_patch16_224 --backbone_weights vit_tiny.safetensors --image_size 224
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.two_classes import recipe_options, two_class_recipe

_Scores = NDArray[np.float64]  # (trainings, images): logit of the second class minus that of the first
KINDS: dict[str, dict[str, Any]] = {
    "side": {"network_config#side_init": "fan_in"},
    "linear": {"network_config#members": 1, "network_config#linear_members": 1},
}
MIXTURES = (
    *((1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 4)),
    *((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (2, 2), (2, 3), (2, 4)),
)
WORST_OF_TEN = 1.54  # expected distance of the least of ten normal numbers from their mean, in standard deviations


def aucs(labels: Any, scores: _Scores) -> _Scores:
    """Scores (networks, images) -> AUC of each: the share of pairs in the right order, a tie being half of one. All at once, for there are thousands."""
    lead = scores[:, labels == 1][:, :, None] - scores[:, labels == 0][:, None, :]
    return np.asarray((np.sign(lead) + 1).mean(axis=(1, 2)) / 2)


def pool(recipe: Any, folds: list[Any], kind: str, seeds: int) -> tuple[list[tuple[_Scores, Any]], float]:
    """Train; scores and labels of every fold, and CPU-seconds of one training."""
    from monai_fpt.experiments.member import FPTMemberPlan, make_member
    from monai_fpt.experiments.training import _labels, _Run

    members: list[Any] = []
    for fold, data in enumerate(folds):
        for seed in range(seeds):
            plan = FPTMemberPlan(f"{kind} {fold} {seed}", data, {"seed": 100 * fold + seed, **KINDS[kind]})
            members.append(make_member(plan, recipe, members[0] if members else None))
    run = _Run(members, together=recipe.device.type != "cpu")
    began = time.process_time()
    for epoch in range(1, members[0].max_epochs + 1):
        losses = run.train_epoch(epoch)
        print(f"{kind}, epoch {epoch}/{members[0].max_epochs}  loss {np.mean(losses):.4f}", flush=True)
    seconds = (time.process_time() - began) / len(members)
    read = run.read("test")
    logits = [(read[n][:, 1] - read[n][:, 0]).numpy().astype(np.float64) for n in range(len(members))]
    starts = range(0, len(members), seeds)
    return [(np.stack(logits[s : s + seeds]), np.asarray(_labels(members[s], "test"))) for s in starts], seconds


def drawn(side: _Scores, linear: _Scores, labels: Any, a: int, b: int) -> _Scores:
    """AUC of every way to put ``a`` and ``b`` together: a row a choice of side networks, a column a choice of linear members."""
    sides = [side[list(s)].sum(axis=0) for s in itertools.combinations(range(len(side)), a)]
    lines = np.stack([linear[list(t)].sum(axis=0) for t in itertools.combinations(range(len(linear)), b)])
    return np.stack([aucs(labels, one + lines) for one in sides])


def variance(found: _Scores, side: float, linear: float) -> float:
    """Of the AUC of networks that share no member.

    Args:
        found: AUC of every way, see :func:`drawn`.
        side: share of the side networks that each way takes.
        linear: likewise of the linear members.

    Returns:
        NaN where all of a kind are taken.
    """
    if 1 in (side, linear):
        return float("nan")
    return float(found.mean(axis=1).var() / (1 - side) + found.mean(axis=0).var() / (1 - linear))


def table(pools: dict[str, tuple[list[tuple[_Scores, Any]], float]], mixtures: Any = MIXTURES) -> str:
    """A row a mixture that the pools can make."""
    (side, side_seconds), (linear, linear_seconds) = pools["side"], pools["linear"]
    share = linear_seconds / side_seconds
    num_side, num_linear = len(side[0][0]), len(linear[0][0])
    rows = ["| side networks | linear members | AUC | sd | 10 below | seconds |", "|---|---|---|---|---|---|"]
    for a, b in mixtures:
        if a > num_side or b > num_linear:
            continue
        found = [drawn(s, t, labels, a, b) for (s, labels), (t, _) in zip(side, linear, strict=True)]
        sd = np.sqrt([variance(one, a / num_side, b / num_linear) for one in found]).mean()
        spread = "- | -" if np.isnan(sd) else f"{sd:.3f} | {WORST_OF_TEN * sd:.3f}"
        rows.append(f"| {a} | {b} | {np.mean([one.mean() for one in found]):.3f} | {spread} | {a + b * share:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Train the pools and print the table."""
    parser = recipe_options(__doc__)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--side", type=int, default=4, help="side networks trained in every fold")
    parser.add_argument("--linear", type=int, default=6, help="linear members trained in every fold")
    given = parser.parse_args()

    from monai_fpt.experiments.folds import fold_lists

    with two_class_recipe(given, "mixture", without=["folds", "side", "linear"]) as recipe:
        sections = ("training", "validation")
        folds = fold_lists(recipe.data, given.folds, seed=0, validation_fraction=0.02, sections=sections)
        pools = {kind: pool(recipe, folds, kind, getattr(given, kind)) for kind in KINDS}
    print(f"\n{table(pools)}\n", flush=True)


if __name__ == "__main__":
    main()
