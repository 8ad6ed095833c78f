"""run_cross_validation: k folds, trained side by side on one cache, and one answer over all images.

Folder of a cross-validation (the ``run_dir`` of the configuration):

    features/                          the cache, filled once, read by all
    fold_1/ ... fold_5/                a run folder each; with several seeds fold_1_seed_0/ and so on
    out_of_fold_predictions.json       every image once, by the network that never saw it
    report_out_of_fold.html, .json     scores of these predictions with intervals over patients
    cross_validation.json, .txt        the table that is printed

Decisions:

- The answer is the score of the out-of-fold predictions, with its interval; the mean over folds stands beside it with
  the standard deviation between folds, which is no error of the mean (the trainings share images).
- With several seeds every fold is trained with every seed on the same parts; predictions and report are one for each
  seed, and the spread between seeds is in the table. Predictions of several seeds are not averaged: no single network that a
  user can take would predict so.
- Nothing is chosen on a test part: the epoch is chosen on the fold's validation part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_fpt.data.datalist import SECTIONS
from monai_fpt.experiments._write import write_json, write_text
from monai_fpt.experiments.folds import fold_lists
from monai_fpt.experiments.member import FPTMemberPlan
from monai_fpt.experiments.recipe import FPTRecipe, open_recipe
from monai_fpt.experiments.runs import FPTFinishedRun, experiment_tracker, run_plans
from monai_fpt.experiments.table import aligned, number, spread
from monai_fpt.handlers import FPTTracker
from monai_fpt.metrics import FPTPredictions, classification_scores
from monai_fpt.report import FPTEvaluation, fpt_write_report

__all__ = ["FPTCrossValidation", "run_cross_validation"]

_TABLE = ("auc", "balanced_accuracy", "accuracy", "f1")


@dataclasses.dataclass(frozen=True)
class FPTCrossValidation:
    """What a cross-validation found. ``str()`` of it is the table.

    Attributes:
        folder: of everything.
        folds: number of folds.
        seeds: of the trainings.
        runs: the trainings, fold by fold and seed by seed.
        scores: one mapping a training: all scores of its test part.
        validation: likewise of its validation part.
        evaluations: seed to the evaluation of the out-of-fold predictions.
    """

    folder: Path
    folds: int
    seeds: tuple[int, ...]
    runs: tuple[FPTFinishedRun, ...]
    scores: tuple[Mapping[str, float], ...]
    validation: tuple[Mapping[str, float], ...]
    evaluations: Mapping[int, FPTEvaluation]

    def mean(self, score: str) -> tuple[float, float]:
        """Mean over folds (and seeds) of a score of the test parts, and the standard deviation between folds.

        With several seeds a fold's score is the mean over its seeds first.
        """
        by_fold = np.array([one.get(score, math.nan) for one in self.scores]).reshape(self.folds, len(self.seeds))
        return spread([float(np.mean(row)) for row in by_fold])

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker."""
        found: dict[str, float] = {}
        for name in self.scores[0]:
            mean, deviation = self.mean(name)
            found |= {f"folds/{name}_mean": mean, f"folds/{name}_sd": deviation}
        for seed, evaluation in self.evaluations.items():
            prefix = "out_of_fold" if len(self.seeds) == 1 else f"out_of_fold_seed_{seed}"
            found |= {f"{prefix}/{name}": value for name, value in evaluation.metrics().items()}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON can hold it; NaN stands for what is undefined."""
        rows = [
            {
                "run": run.name,
                "images": dict(run.data),
                "best_epoch": run.best_epoch,
                "engine": run.engine,
                "validation": dict(validation),
                "test": dict(scores),
            }
            for run, scores, validation in zip(self.runs, self.scores, self.validation, strict=True)
        ]
        means = {name: self.mean(name) for name in self.scores[0]}
        return {
            "format": "monai_fpt cross-validation",
            "version": 1,
            "folds": self.folds,
            "seeds": list(self.seeds),
            "runs": rows,
            "mean": {name: mean for name, (mean, _) in means.items()},
            "standard_deviation_between_folds": {name: deviation for name, (_, deviation) in means.items()},
            "out_of_fold": {
                str(seed): {name: score.to_dict() for name, score in evaluation.scores.items()}
                for seed, evaluation in self.evaluations.items()
            },
        }

    def __str__(self) -> str:
        names = [name for name in _TABLE if name in self.scores[0]]
        heads = ("training", *SECTIONS, "epoch", "validation auc", *(f"test {name}" for name in names))
        rows: list[Sequence[str]] = [heads]
        for run, scores, validation in zip(self.runs, self.scores, self.validation, strict=True):
            counts = [str(run.data[name]) for name in SECTIONS]
            epoch = "-" if run.best_epoch is None else str(run.best_epoch)
            rows.append((run.name, *counts, epoch, number(validation["auc"]), *(number(scores[n]) for n in names)))
        means = [self.mean(name) for name in names]
        blank = ("",) * 5
        rows.append(("mean of the folds", *blank, *(number(mean) for mean, _ in means)))
        rows.append(("sd between folds", *blank, *(number(deviation) for _, deviation in means)))
        for seed, evaluation in self.evaluations.items():
            label = "out of fold" if len(self.seeds) == 1 else f"out of fold, seed {seed}"
            rows.append((label, *blank, *(number(evaluation.scores[n].value) for n in names)))
            ends = [evaluation.scores[n].interval.replace(" to ", "-") or "-" for n in names]
            rows.append((f"  {evaluation.level * 100:g} % interval", *blank, *ends))
        trained = len({run.engine for run in self.runs}) == 1 and self.runs[0].engine == "bundle"
        how = "one after the other by the bundle" if trained else "side by side"
        units = "patients" if self.evaluations and next(iter(self.evaluations.values())).patients_known else "images"
        title = f"{self.folds}-fold cross-validation, seeds {', '.join(map(str, self.seeds))}, trained {how}; intervals over {units}"
        return f"{title}\n\n{aligned(rows)}"


def run_cross_validation(
    overrides: Mapping[str, Any],
    *,
    configs: Sequence[str] = (),
    folds: int = 5,
    seeds: Sequence[int] | None = None,
    sections: Sequence[str] = SECTIONS,
    validation_fraction: float = 0.15,
    engine: str = "auto",
    at_once: int = 5,
    report: bool | None = None,
    quiet: bool = False,
) -> FPTCrossValidation:
    """Cross-validate one recipe. Images are read by the backbone once at most; what is finished is not repeated.

    Args:
        overrides: ids of the bundle's training configuration and their values (``dataset_dir``, ``run_dir``,
            ``max_epochs``, ...). ``split_seed`` deals the folds.
        configs: further configuration files (presets).
        folds: number of folds.
        seeds: of the trainings; every fold is trained with each. None takes the configuration's ``seed``.
        sections: which images take part; see :func:`fold_lists`.
        validation_fraction: share of a fold's rest that chooses the epoch.
        engine: ``"stack"``, side by side; ``"bundle"``, one after the other; ``"auto"``.
        at_once: how many are trained side by side at most.
        report: write a report of every fold too; None does what the configuration says. The report over all folds is
            written always.
        quiet: print nothing.

    Returns:
        the table; it is also written, and tracked as the run above those of the folds.

    Raises:
        FileExistsError: the folder holds another cross-validation.
        ValueError: options or data that are not in order.
    """
    recipe = open_recipe(overrides, configs)
    value = recipe.parser().get_parsed_content
    seeds = (int(value("seed")),) if seeds is None else tuple(int(seed) for seed in seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"cross-validation: seeds {list(seeds)} must be different numbers, at least one.")
    lists = fold_lists(
        recipe.data,
        folds,
        seed=int(value("split_seed")),
        validation_fraction=validation_fraction,
        sections=sections,
    )
    many = len(seeds) > 1
    plans = [
        FPTMemberPlan(
            f"fold_{place}_seed_{seed}" if many else f"fold_{place}", data, {"seed": seed, "split_seed": seed}
        )
        for place, data in enumerate(lists, start=1)
        for seed in seeds
    ]
    params = {"folds": folds, "seeds": list(seeds), "split_seed": int(value("split_seed")), "sections": list(sections)}
    tracker = experiment_tracker(recipe, params | {"validation_fraction": validation_fraction}, "cross_validation")
    with tracker:
        runs = run_plans(recipe, plans, tracker, engine=engine, at_once=at_once, report=report, quiet=quiet)
        found = _put_together(recipe, runs, folds, seeds, value("aggregate"), value("subgroups"))
        _leave(found, tracker)
    if not quiet:
        print(f"\n{found}\n\nReport: {recipe.run_dir / _report_name(seeds, seeds[0])}.html", flush=True)
    return found


def _put_together(
    recipe: FPTRecipe,
    runs: Sequence[FPTFinishedRun],
    folds: int,
    seeds: tuple[int, ...],
    aggregate: str | None,
    subgroups: Sequence[str],
) -> FPTCrossValidation:
    evaluations = {}
    for place, seed in enumerate(seeds):
        own = [run.predictions["test"] for run in runs[place :: len(seeds)]]
        section = _section(seeds, seed)
        _joined(own).save(recipe.run_dir / f"{section}_predictions.json")
        evaluations[seed] = fpt_write_report(
            recipe.run_dir, section, aggregate=aggregate, subgroups=subgroups or None, quiet=True
        )
    return FPTCrossValidation(
        folder=recipe.run_dir,
        folds=folds,
        seeds=seeds,
        runs=tuple(runs),
        scores=tuple(_scores(run.predictions["test"]) for run in runs),
        validation=tuple(_scores(run.predictions["validation"]) for run in runs),
        evaluations=evaluations,
    )


def _leave(found: FPTCrossValidation, tracker: FPTTracker) -> None:
    write_json(found.folder / "cross_validation.json", found.to_dict())
    write_text(found.folder / "cross_validation.txt", f"{found}\n")
    tracker.log_metrics(found.metrics())
    for name in ("cross_validation.json", "cross_validation.txt"):
        tracker.log_artifact(found.folder / name)
    for seed in found.seeds:
        for ending in ("html", "json"):
            tracker.log_artifact(found.folder / f"{_report_name(found.seeds, seed)}.{ending}", "report_out_of_fold")


def _joined(parts: Sequence[FPTPredictions]) -> FPTPredictions:
    """Predictions of several folds as one; a fact that a fold lacks is unknown there."""
    names = sorted({name for part in parts for name in part.facts})
    return dataclasses.replace(
        parts[0],
        keys=tuple(key for part in parts for key in part.keys),
        groups=tuple(group for part in parts for group in part.groups),
        labels=np.concatenate([part.labels for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        facts={name: tuple(v for part in parts for v in part.facts.get(name, ("",) * len(part))) for name in names},
        weights_sha256="",  # of several networks
        contents=tuple(one for part in parts for one in part.contents) if all(p.contents for p in parts) else (),
    )


def _scores(predictions: FPTPredictions) -> dict[str, float]:
    return classification_scores(predictions.probabilities(), predictions.labels, task=predictions.task)


def _section(seeds: Sequence[int], seed: int) -> str:
    return "out_of_fold" if len(seeds) == 1 else f"out_of_fold_seed_{seed}"


def _report_name(seeds: Sequence[int], seed: int) -> str:
    return f"report_{_section(seeds, seed)}"
