"""run_search: hyper-parameters by Optuna's TPE, several trials trained side by side on one cache.

Folder of a search (the ``run_dir`` of the configuration):

    features/              the cache, filled once, read by all
    study.db               Optuna's study; a search that was stopped goes on with it
    trial_0000/ ...        a run folder each; with several seeds trial_0000_seed_1/ and so on
    best/                  the run folder of the best trial, with test predictions and report
    search.json, .txt      the table that is printed

Decisions:

- A trial is judged on the validation section, by the best epoch's key metric (the mean over the seeds). Trials have no test
  section at all: it is read once, at the end, by the best trial's model. Whoever goes on searching after that is told how
  often the test was looked at.
- Trials are proposed in groups, of which none knows another's result; TPE's constant liar keeps them apart. The
  sampler's seed is the search's seed and the number of trials that are finished, so a search that was stopped and goes
  on proposes what an uninterrupted one does; one that ended with a smaller group, and is prolonged, does not.
- What changes the features (backbone, image size, preprocessing) cannot be searched: that needs another cache, and is
  refused by name.
- With several seeds, ``best`` is the first seed's model of the best trial, not the luckiest seed's.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.data import FPTDataList
from monai_fpt.experiments._write import write_json, write_text
from monai_fpt.experiments.best import leave_best
from monai_fpt.experiments.member import FPTMemberPlan
from monai_fpt.experiments.recipe import FPTRecipe, open_recipe
from monai_fpt.experiments.runs import FPTFinishedRun, experiment_tracker, run_plans
from monai_fpt.experiments.space import checked_space, suggested
from monai_fpt.experiments.table import aligned, number
from monai_fpt.metrics import classification_scores
from monai_fpt.report import FPTEvaluation

__all__ = ["FPTSearch", "FPTTrial", "run_search"]

_STUDY = "monai_fpt"


@dataclasses.dataclass(frozen=True)
class FPTTrial:
    """One point of a search.

    Attributes:
        number: from 0.
        values: ids of the configuration and what they were.
        score: mean over the seeds of the validation score; NaN where it is undefined.
        folders: of its trainings.
    """

    number: int
    values: Mapping[str, Any]
    score: float
    folders: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class FPTSearch:
    """What a search found. ``str()`` of it is the table.

    Attributes:
        folder: of everything.
        metric: that decides.
        seeds: of the trainings.
        trials: in the order of their numbers.
        best: the best of them.
        evaluation: of the best model on the test section; None where the data has none or it was not wanted.
        looks: how often a best model was tested in this folder.
    """

    folder: Path
    metric: str
    seeds: tuple[int, ...]
    trials: tuple[FPTTrial, ...]
    best: FPTTrial
    evaluation: FPTEvaluation | None
    looks: int

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON can hold it."""
        return {
            "format": "monai_fpt search",
            "version": 1,
            "metric": self.metric,
            "seeds": list(self.seeds),
            "trials": [
                {"number": t.number, "values": dict(t.values), "score": t.score, "folders": [f.name for f in t.folders]}
                for t in self.trials
            ],
            "best": self.best.number,
            "test": None if self.evaluation is None else {n: s.to_dict() for n, s in self.evaluation.scores.items()},
            "looks_at_the_test": self.looks,
        }

    def __str__(self) -> str:
        names = list(self.best.values)
        rows: list[Sequence[str]] = [("trial", f"validation {self.metric}", *names)]
        ranked = sorted(
            self.trials, key=lambda t: (math.isnan(t.score), -t.score if not math.isnan(t.score) else 0, t.number)
        )
        for trial in ranked:
            rows.append((str(trial.number), number(trial.score), *(_told(trial.values.get(name)) for name in names)))
        seeds = (
            f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"mean over seeds {', '.join(map(str, self.seeds))}"
        )
        text = f"Search over {len(self.trials)} trials, {seeds}, best first\n\n{aligned(rows)}"
        if self.evaluation is not None:
            score = self.evaluation.scores["auc"]
            text += f"\n\nThe best on the test section: auc {number(score.value)} ({score.interval or 'no interval'})"
            if self.looks > 1:
                text += f"\nThe test section was looked at {self.looks} times in this search: what was changed after the first look has seen it."
        return text


def run_search(
    overrides: Mapping[str, Any],
    *,
    configs: Sequence[str] = (),
    trials: int = 20,
    space: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    engine: str = "auto",
    at_once: int = 5,
    test: bool = True,
    quiet: bool = False,
) -> FPTSearch:
    """Search hyper-parameters of one recipe. Images are read by the backbone once at most; a stopped search goes on.

    Args:
        overrides: ids of the bundle's training configuration and their values (``dataset_dir``, ``run_dir``, ...).
        configs: further configuration files (presets).
        trials: how many the study is to have in the end, those of an earlier call counted.
        space: ids and what they may be, see :mod:`monai_fpt.experiments.space`; None searches learning rate, weight
            decay, dropout and class weights.
        seeds: of the trainings of every trial; None takes the configuration's ``seed``.
        engine: ``"stack"``, side by side; ``"bundle"``, one after the other; ``"auto"``.
        at_once: how many trainings run side by side at most; a group of trials is proposed for as many.
        test: let the best model read the test section at the end. Leave it out while you still search.
        quiet: print nothing.

    Returns:
        the table; it is also written, and tracked as the run above those of the trials.

    Raises:
        ImportError: Optuna is not installed.
        FileExistsError: the folder holds a search of another space, of other seeds or data.
        ValueError: options or data that are not in order.
    """
    optuna = _optuna()
    space = checked_space(space)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"search: trials={trials!r} must be a whole number of at least 1.")
    recipe = open_recipe(overrides, configs)
    value = recipe.parser().get_parsed_content
    seed = int(value("seed"))
    seeds = (seed,) if seeds is None else tuple(int(one) for one in seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"search: seeds {list(seeds)} must be different numbers, at least one.")
    if not recipe.data.validation:
        raise ValueError("search: the data list has no validation images to choose by; give a split that has some.")
    ((_, key_metric),) = recipe.parser().get("validate#key_metric").items()
    metric = str(key_metric["score"])
    untested = dataclasses.replace(recipe.data, test=[])
    study = _opened_study(
        optuna, recipe, {"space": space, "seeds": list(seeds), "data": untested.digest, "metric": metric}
    )
    tracker = experiment_tracker(recipe, {"space": space, "seeds": list(seeds), "trials": trials}, "search")
    with tracker:
        while (done := len(_finished(optuna, study))) < trials:
            group = min(max(1, at_once // len(seeds)), trials - done)
            study.sampler = optuna.samplers.TPESampler(seed=seed + 7919 * done, constant_liar=True)
            asked = [study.ask() for _ in range(group)]
            plans = [plan for trial in asked for plan in _plans(trial, suggested(trial, space), untested, seeds)]
            runs = run_plans(recipe, plans, tracker, engine=engine, at_once=at_once, report=False, quiet=quiet)
            for place, trial in enumerate(asked):
                own = runs[place * len(seeds) : (place + 1) * len(seeds)]
                _tell(optuna, study, trial, own, metric)
        found = _found(optuna, study, recipe, seeds, metric)
        if test and recipe.data.test:
            evaluation = leave_best(recipe, found.best.folders[0])
            found = dataclasses.replace(found, evaluation=evaluation, looks=_looked(study, found.best))
        _leave(found, tracker)
    if not quiet:
        print(f"\n{found}", flush=True)
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('A search needs Optuna; install it with pip install "monai-fpt[search]".') from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _opened_study(optuna: Any, recipe: FPTRecipe, asked: Mapping[str, Any]) -> Any:
    """The study in the folder, or a new one; trials that a kill left unfinished are given up."""
    recipe.run_dir.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{(recipe.run_dir / 'study.db').as_posix()}"
    study = optuna.create_study(study_name=_STUDY, storage=storage, direction="maximize", load_if_exists=True)
    plain = json.loads(json.dumps(asked))
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", plain)
    elif before != plain:
        other = sorted(name for name in plain if before.get(name) != plain[name])
        raise FileExistsError(
            f'"{recipe.run_dir}" holds a search with other settings ({", ".join(other)}); choose another run_dir, or give the same.'
        )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        for folder in recipe.run_dir.glob(f"trial_{trial.number:04d}*"):
            if not (folder / "training.json").is_file():
                shutil.rmtree(folder)
    return study


def _plans(trial: Any, values: Mapping[str, Any], data: FPTDataList, seeds: Sequence[int]) -> list[FPTMemberPlan]:
    trial.set_user_attr("values", dict(values))
    name = f"trial_{trial.number:04d}"
    return [
        FPTMemberPlan(
            name if len(seeds) == 1 else f"{name}_seed_{seed}", data, {**values, "seed": seed, "split_seed": seed}
        )
        for seed in seeds
    ]


def _tell(optuna: Any, study: Any, trial: Any, runs: Sequence[FPTFinishedRun], metric: str) -> None:
    scores = []
    for run in runs:
        found = run.predictions["validation"]
        scores.append(
            classification_scores(found.probabilities(), found.labels, task=found.task, logits=found.logits)[metric]
        )
    trial.set_user_attr("scores", [None if math.isnan(score) else score for score in scores])
    trial.set_user_attr("folders", [run.name for run in runs])
    mean = sum(scores) / len(scores)
    if math.isnan(mean):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, mean)


def _finished(optuna: Any, study: Any) -> list[Any]:
    """Trials that were trained to the end, also those whose score is undefined."""
    state = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=False, states=(state.COMPLETE, state.FAIL))
    return [trial for trial in trials if "folders" in trial.user_attrs]


def _found(optuna: Any, study: Any, recipe: FPTRecipe, seeds: tuple[int, ...], metric: str) -> FPTSearch:
    trials = tuple(
        FPTTrial(
            number=trial.number,
            values=trial.user_attrs["values"],
            score=math.nan if trial.value is None else float(trial.value),
            folders=tuple(recipe.run_dir / name for name in trial.user_attrs["folders"]),
        )
        for trial in _finished(optuna, study)
    )
    judged = [trial for trial in trials if not math.isnan(trial.score)]
    if not judged:
        raise ValueError(
            f"search: no trial has a validation {metric}; the validation section needs images of at least two classes."
        )
    best = max(judged, key=lambda trial: (trial.score, -trial.number))
    return FPTSearch(recipe.run_dir, metric, seeds, trials, best, None, int(study.user_attrs.get("looks", 0)))


def _looked(study: Any, best: FPTTrial) -> int:
    """Count the look at the test section; the same model looked at again is one look."""
    looks = int(study.user_attrs.get("looks", 0))
    if study.user_attrs.get("looked_with") != best.number:
        looks += 1
        study.set_user_attr("looks", looks)
        study.set_user_attr("looked_with", best.number)
    return looks


def _leave(found: FPTSearch, tracker: Any) -> None:
    write_json(found.folder / "search.json", found.to_dict())
    write_text(found.folder / "search.txt", f"{found}\n")
    tracker.log_metrics({f"best_val_{found.metric}": found.best.score, "best_trial": found.best.number})
    tracker.set_tags({f"best.{name}": value for name, value in found.best.values.items()})
    if found.evaluation is not None:
        tracker.log_metrics({f"test/{name}": value for name, value in found.evaluation.metrics().items()})
        for ending in ("html", "json"):
            tracker.log_artifact(found.folder / "best" / f"report.{ending}", "report_test")
    for name in ("search.json", "search.txt"):
        tracker.log_artifact(found.folder / name)


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
