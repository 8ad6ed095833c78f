"""Many trainings of one recipe, each in a run folder of its own, all on one cache.

Decisions:

- Whatever trains them, every training leaves the folder that ``monai-fpt train`` leaves: ``model.pt``, ``model.json``,
  ``data_list.json``, ``config.json``, predictions of validation and test, a report; so each can be evaluated, served and
  registered. ``training.json`` and ``config.json`` are written last: where both are, the training is finished.
- Two engines. ``"stack"`` trains several in one loop (:mod:`monai_fpt.experiments.training`); ``"bundle"`` lets the
  bundle run one after the other. The result is the same within rounding. ``"auto"`` takes the stack where it does all
  that the configuration asks for, and otherwise says what it does not do and takes the bundle.
- A finished training is not repeated; one in a folder of the same name with other settings is never taken for it.
- Each is a run of its own in the tracking store, below the one of the whole experiment.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_fpt.bundle import run_bundle
from monai_fpt.data import FPTDataList
from monai_fpt.experiments._write import write_json
from monai_fpt.experiments.member import FPTMember, FPTMemberPlan, make_member
from monai_fpt.experiments.recipe import FPTRecipe, stack_refusal
from monai_fpt.experiments.training import FPTTrained, train_members
from monai_fpt.handlers import FPTGroupScores, FPTPredictionSaver, FPTTracker, fpt_flag, fpt_log_run
from monai_fpt.handlers._files import replace_file_content
from monai_fpt.handlers._rows import PredictionRow
from monai_fpt.metrics import FPTPredictions
from monai_fpt.report import fpt_write_report

__all__ = ["ENGINES", "FPTFinishedRun", "experiment_tracker", "finished_run", "run_plans", "save_predictions"]

ENGINES = ("auto", "stack", "bundle")
_FACTS = "training.json"
_NOT_SETTINGS = {  # may differ between a finished training and the one that is asked for
    *("_meta_", "imports", "bundle_root", "dataset_dir", "data_list", "run_dir", "output_dir", "cache_dir", "device"),
    *("num_workers", "extract_batch_size", "report", "report_pictures", "experiment", "run_name", "tracking_uri"),
    *("track", "system_metrics", "parent_run", "resume"),
}


@dataclasses.dataclass(frozen=True)
class FPTFinishedRun:
    """A finished training.

    Attributes:
        name: of its folder.
        folder: with model and predictions.
        best_epoch: whose weights were kept, from 1; None where it is not known.
        engine: ``"stack"`` or ``"bundle"``.
        predictions: section (``"validation"``, ``"test"``) to its predictions, where it has images.
        data: its data list's number of images a section.
    """

    name: str
    folder: Path
    best_epoch: int | None
    engine: str
    predictions: Mapping[str, FPTPredictions]
    data: Mapping[str, int]


def experiment_tracker(recipe: FPTRecipe, params: Mapping[str, Any], kind: str) -> FPTTracker:
    """The run that stands above all others of an experiment; not begun yet."""
    parser = recipe.parser()
    value = parser.get_parsed_content
    return FPTTracker(
        recipe.run_dir,
        experiment=value("experiment"),
        run_name=value("run_name") or kind,
        tracking_uri=value("tracking_uri"),
        params={**params, "features_fingerprint": recipe.store.spec.fingerprint},
        tags={"monai_fpt.kind": kind},
        enabled=fpt_flag(value("track"), "track"),
        system_metrics=fpt_flag(value("system_metrics"), "system_metrics"),
        data=recipe.data,
        data_name=value("dataset_name"),
    )


def run_plans(
    recipe: FPTRecipe,
    plans: Sequence[FPTMemberPlan],
    tracker: FPTTracker,
    *,
    engine: str = "auto",
    at_once: int = 5,
    report: bool | None = None,
    quiet: bool = False,
) -> list[FPTFinishedRun]:
    """Train what is not trained yet.

    Args:
        recipe: the opened configuration.
        plans: the trainings; each gets the folder of its name below the recipe's ``run_dir``.
        tracker: of the whole experiment.
        engine: ``"auto"``, ``"stack"`` or ``"bundle"``.
        at_once: how many are trained side by side at most.
        report: write a report of each test section; None does what the configuration says.
        quiet: print nothing of the epochs.

    Returns:
        one record a plan, in the same order.

    Raises:
        FileExistsError: a folder holds another training.
        ValueError: an unknown engine, or what cannot be trained.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r} is not one of {', '.join(map(repr, ENGINES))}.")
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise ValueError(f"at_once={at_once!r} must be a whole number of at least 1.")
    whole = [_whole_plan(recipe, plan, tracker) for plan in plans]
    waiting = [plan for plan in whole if not _is_finished(recipe, plan)]
    if len(waiting) < len(whole) and not quiet:
        print(f"{len(whole) - len(waiting)} of {len(whole)} trainings are finished already and are kept.", flush=True)
    refusal = next(filter(None, (stack_refusal(recipe.parser(plan.overrides)) for plan in waiting)), "")
    if engine == "auto" and refusal and not quiet:
        print(f"The trainings are run one after the other by the bundle, since {refusal}.", flush=True)
    by_bundle = engine == "bundle" or (engine == "auto" and bool(refusal))
    if waiting:
        tracker.start()
    for start in range(0, len(waiting), at_once):
        some = waiting[start : start + at_once]
        if by_bundle:
            for plan in some:
                _run_by_bundle(recipe, plan, tracker)
        else:
            _run_in_stack(recipe, some, tracker, report, quiet)
    return [finished_run(recipe.run_dir / plan.name) for plan in plans]


def finished_run(folder: Path) -> FPTFinishedRun:
    """What a finished training left in its folder."""
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    names = ("validation", "test")
    paths = {name: folder / f"{name}_predictions.json" for name in names}
    return FPTFinishedRun(
        name=folder.name,
        folder=folder,
        best_epoch=facts["best_epoch"],
        engine=facts["engine"],
        predictions={name: FPTPredictions.load(path) for name, path in paths.items() if path.is_file()},
        data=facts["images"],
    )


def _whole_plan(recipe: FPTRecipe, plan: FPTMemberPlan, tracker: FPTTracker) -> FPTMemberPlan:
    """The plan with everything that the bundle must be told to make the same of it."""
    folder = recipe.run_dir / plan.name
    given = {
        "dataset_dir": str(recipe.root),
        "data_list": str(folder / "data_list.json"),
        "dataset_name": None,
        "run_dir": str(folder),
        "cache_dir": str(recipe.store.path),
        "experiment": tracker.experiment,
        "run_name": f"{tracker.run_name}/{plan.name}",
        "tracking_uri": tracker.tracking_uri,
    }
    return dataclasses.replace(plan, overrides={**given, **plan.overrides})


def _is_finished(recipe: FPTRecipe, plan: FPTMemberPlan) -> bool:
    """Whether this very training is in its folder already.

    Raises:
        FileExistsError: another one is.
    """
    folder = Path(plan.overrides["run_dir"])
    told = [(folder / name).is_file() for name in (_FACTS, "config.json")]
    if not all(told):
        if told == [False, True] and (folder / "model.pt").is_file() and not (folder / "last.pt").is_file():
            raise FileExistsError(f'"{folder}" holds a model of another origin; choose another run_dir.')
        return False
    parser = recipe.parser(plan.overrides)
    parser.parse()  # as a configuration is written that ran: macros in place
    texts = ((folder / "config.json").read_text(encoding="utf-8"), json.dumps(parser.config, default=str))
    before, now = (json.loads(text.replace("::", "#")) for text in texts)
    other = sorted(name for name in {*before, *now} - _NOT_SETTINGS if before.get(name) != now.get(name))
    digest = json.loads((folder / "data_list.json").read_text(encoding="utf-8"))["digest"]
    if digest != plan.data.digest:
        other.insert(0, "the images and their sections")
    if other:
        raise FileExistsError(
            f'"{folder}" holds a training with other settings ({", ".join(other[:5])}); choose another run_dir, or delete it.'
        )
    return True


def _run_by_bundle(recipe: FPTRecipe, plan: FPTMemberPlan, tracker: FPTTracker) -> None:
    folder = Path(plan.overrides["run_dir"])
    plan.data.save(folder / "data_list.json")
    _require_same_images(plan.data, FPTDataList.load(folder / "data_list.json", recipe.root))
    own = {"parent_run": tracker.run_id, "resume": (folder / "last.pt").is_file()}
    run_bundle("train", {**recipe.overrides, **plan.overrides, **own}, recipe.configs)
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    _write_facts(folder, plan.data, "bundle", state["best_epoch"])


def _run_in_stack(
    recipe: FPTRecipe, plans: Sequence[FPTMemberPlan], tracker: FPTTracker, report: bool | None, quiet: bool
) -> None:
    members: list[FPTMember] = []
    for plan in plans:
        members.append(make_member(plan, recipe, members[0] if members else None))
    for key in dict.fromkeys(member.stack_key for member in members):
        stack = [member for member in members if member.stack_key == key]
        trackers = {member.plan.name: _member_tracker(member, tracker) for member in stack}
        for member in stack:
            folder = Path(member.plan.overrides["run_dir"])
            member.data.save(folder / "data_list.json")
            member.card.save(folder / "model.json")

        def told(
            epoch: int, metrics: dict[str, float], trained: FPTTrained, trackers: dict[str, FPTTracker] = trackers
        ) -> None:
            trackers[trained.member.plan.name].log_metrics(metrics, step=epoch)

        try:
            for trained in train_members(stack, on_epoch=told, quiet=quiet):
                _leave_run(trained, trackers[trained.member.plan.name], report)
        except BaseException as error:
            for one in trackers.values():
                one.fail(error)
            raise


def _member_tracker(member: FPTMember, tracker: FPTTracker) -> FPTTracker:
    own = FPTTracker(
        member.plan.overrides["run_dir"],
        run_name=member.plan.overrides["run_name"],
        params={**member.tracked_params, "max_epochs": member.max_epochs, "epoch_length": member.steps},
        parent=tracker,
        system_metrics=False,  # the machine is the parent's
        data=member.data,
        data_name=member.parser.get_parsed_content("dataset_name"),
    )
    own.start()
    return own


def _leave_run(trained: FPTTrained, tracker: FPTTracker, report: bool | None) -> None:
    """Write the folder of a run, and what belongs to it into the tracking store."""
    member = trained.member
    folder = Path(member.plan.overrides["run_dir"])
    raw = member.recipe.parser(member.plan.overrides)
    aggregate = raw.get_parsed_content("aggregate")
    for section in trained.logits:
        patients = save_predictions(trained, section, folder, aggregate)
        if section == "test":
            scores = trained.scores("test") | patients
            tracker.log_metrics({f"test_{name}": value for name, value in scores.items()}, step=trained.best_epoch)
    tracker.log_metrics({"best_epoch": trained.best_epoch, f"best_val_{member.score}": trained.best_score})
    replace_file_content(folder / "model.pt", _state_bytes(trained))
    wanted = fpt_flag(raw.get_parsed_content("report"), "report") if report is None else report
    if wanted and "test" in trained.logits:
        subgroups = raw.get_parsed_content("subgroups")
        evaluation = fpt_write_report(folder, "test", aggregate=aggregate, subgroups=subgroups or None, quiet=True)
        tracker.log_metrics({f"test/{name}": value for name, value in evaluation.metrics().items()})
        for name in ("report.html", "report.json"):
            tracker.log_artifact(folder / name, "report_test")
    _write_facts(folder, member.data, "stack", trained.best_epoch)
    fpt_log_run(tracker, folder, raw.config)
    tracker.close()


def save_predictions(trained: FPTTrained, section: str, folder: Path, aggregate: str | None = None) -> dict[str, float]:
    """Write the predictions of a section as the bundle's handlers do, and for a test with ``aggregate`` those of patients.

    Returns:
        the scores of patients, where they were asked for.
    """
    member = trained.member
    rows = _rows(trained, section)
    engine = types.SimpleNamespace(  # what the handlers ask of an engine
        network=member.network,
        data_loader=types.SimpleNamespace(dataset=member.sections[section]),
        state=types.SimpleNamespace(metrics={}),
    )
    items, classes = member.data.section(section), member.data.classes
    path = folder / f"{section}_predictions.csv"
    FPTPredictionSaver(path, classes, member.task, items=items, ordered=member.data.ordered).finished(engine, rows)
    if aggregate is not None and section == "test":
        FPTGroupScores(folder / "test_patients.csv", classes, member.task, aggregate).finished(engine, rows)
    scores: dict[str, float] = engine.state.metrics
    return scores


def _rows(trained: FPTTrained, section: str) -> list[PredictionRow]:
    member, logits = trained.member, trained.logits[section]
    probabilities = logits.softmax(1) if member.task == "multiclass" else logits.sigmoid()
    items = member.data.section(section)
    labels = [item["label"] for item in items]
    return [
        PredictionRow(
            key=str(item["key"]),
            probabilities=tuple(p),
            label=label if isinstance(label, int) else tuple(int(v) for v in label),
            group=str(item.get("group", item["key"])),
            logits=tuple(z),
        )
        for item, label, p, z in zip(
            items, labels, probabilities.double().tolist(), logits.double().tolist(), strict=True
        )
    ]


def _state_bytes(trained: FPTTrained) -> bytes:
    import io

    buffer = io.BytesIO()
    state = {name: tensor.detach().cpu().clone() for name, tensor in trained.member.network.state_dict().items()}
    torch.save(state, buffer)
    return buffer.getvalue()


def _write_facts(folder: Path, data: FPTDataList, engine: str, best_epoch: int | None) -> None:
    images = {name: len(data.section(name)) for name in ("training", "validation", "test")}
    write_json(folder / _FACTS, {"engine": engine, "best_epoch": best_epoch, "images": images})


def _require_same_images(data: FPTDataList, loaded: FPTDataList) -> None:
    """What is read back from a saved list must be the same files."""
    for section in ("training", "validation", "test"):
        ours = [str(Path(item["image"]).resolve()) for item in data.section(section)]
        theirs = [str(Path(item["image"]).resolve()) for item in loaded.section(section)]
        if not np.array_equal(ours, theirs):
            raise ValueError(
                f"the {section} images of a saved data list are other files than before; give dataset_dir."
            )
