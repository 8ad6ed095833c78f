"""run_comparison: one data list, one backbone, several ways to learn from it, and one table.

Folder of a comparison (the ``run_dir`` of the configuration):

    features/                        the cache, filled once, read by all; features_1a2b3c4d/ of arms with other features
    fpt_plus/seed_0/ ...             a folder each training; an adapter's is a run folder of the bundle
    comparison.json                  what the comparison is of; another one is refused in this folder
    compare.html, .json, .txt        the answer, written anew whenever arms or seeds are added

Decisions:

- Data list, sections, reading, backbone, batch size and class weights are those of the recipe for every arm; what else an arm does is as its
  authors say, and is in its settings.
- A finished training is not repeated. Arms and seeds can be added later; the answer is over the arms that the call names.
- The test section is scored when all arms are done; no arm sees its labels (:mod:`monai_fpt.compare.arm`).
- Everything is tracked: one run above, a run a training below.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt.compare.ablation import ablation_arms, ablation_names
from monai_fpt.compare.adapters import run_adapter
from monai_fpt.compare.arms import FPT_ARMS, FPTArmInfo, named_arms, require_packages, with_options
from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.compare.differences import differences_to, drawn_auc, section_auc
from monai_fpt.compare.direct import augmentation_of, make_arm_data, run_direct, settings_of
from monai_fpt.compare.full_memory import full_tuning_cost
from monai_fpt.compare.page import comparison_page
from monai_fpt.compare.record import FPTArmRun, plain_json
from monai_fpt.compare.shuffle import shuffled_labels
from monai_fpt.compare.tokens import FPTTokenReader
from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.experiments._write import write_json, write_text
from monai_fpt.experiments.recipe import FPTRecipe, open_recipe, train_parser
from monai_fpt.experiments.runs import experiment_tracker
from monai_fpt.features import FeatureStore, StoredTokens
from monai_fpt.handlers import FPTTracker, fpt_require_one_label
from monai_fpt.report.score import scores_of

__all__ = ["run_comparison"]

_FILE = "comparison.json"
_FORMAT = "monai_fpt comparison settings"
_ORDER: tuple[StoredTokens, ...] = ("none", "pooled", "all")
_RESAMPLES_SEED = 0


def run_comparison(
    overrides: Mapping[str, Any],
    *,
    configs: Sequence[str] = (),
    arms: str | Sequence[str | FPTArmInfo] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    reference: str = "fpt_plus",
    arm_options: Mapping[str, Mapping[str, Any]] | None = None,
    shuffle_labels: bool = False,
    engine: str = "auto",
    at_once: int = 5,
    bootstrap: int = 2000,
    level: float = 0.95,
    quiet: bool = False,
) -> FPTArmComparison:
    """Compare ways to learn from the same images. Images are read by the backbone once at most; what is finished is not repeated.

    Args:
        overrides: ids of the bundle's training configuration and their values (``dataset_dir``, ``run_dir``, ``max_epochs``, ...).
        configs: further configuration files (presets).
        arms: names of :data:`~monai_fpt.compare.FPT_ARMS` and of groups (``"default"``, ``"probes"``, ``"adapters"``, ``"tuning"``,
            ``"ablation"``, ``"all"``); one text may hold several with commas between. An arm of your own is an
            :class:`~monai_fpt.compare.FPTArmInfo`. None is all that learns from the cache.
        seeds: of the trainings; the split stays.
        reference: the arm that the others are compared with. Where it is not among the arms, the first is taken.
        arm_options: arm to settings of its own: fields of a probe or tuning arm, ids of the configuration for an adapter.
        shuffle_labels: deal the labels of training and validation anew among patients: the AUC must come out as chance.
        engine: of the adapters, ``"stack"``, ``"bundle"`` or ``"auto"``.
        at_once: how many adapters are trained side by side at most.
        bootstrap: number of resamples, at least 100.
        level: of the intervals.
        quiet: print nothing.

    Returns:
        the answer; it is also written, and tracked as the run above those of the trainings.

    Raises:
        FileExistsError: the folder holds another comparison, or a training of the same name with other settings.
        ImportError: an arm needs a package that is not installed.
        ValueError: options or data that are not in order.
    """
    seeds = _checked_options(seeds, bootstrap, level)
    wanted = named_arms(arms, {name: _placeholder(name) for name in ablation_names()})
    require_packages(wanted)
    known_options = dict(arm_options or {})
    unknown = sorted(set(known_options) - {info.name for info in wanted})
    if unknown:
        raise ValueError(
            f"compare: arm_options names {', '.join(unknown)}, which {'are' if len(unknown) > 1 else 'is'} not among the arms."
        )
    most: StoredTokens = max((info.tokens for info in wanted), key=_ORDER.index)
    recipe, extraction = _opened(overrides, configs, most)
    shared = _settings(recipe, shuffle_labels)
    _claim(recipe.run_dir, shared)
    infos, skipped = _resolved(wanted, recipe, arms)
    infos = [with_options(info, known_options.get(info.name, {})) for info in infos]
    settings = {info.name: _arm_settings(info, shared, recipe) for info in infos}
    params = {
        "arms": [info.name for info in infos],
        "seeds": list(seeds),
        "reference": reference,
        "shuffle_labels": shuffle_labels,
    }
    tracker = experiment_tracker(recipe, params, "comparison")
    tracker.resume = (recipe.run_dir / "mlflow_run.json").is_file()
    data_of = {seed: shuffled_labels(recipe.data, seed) if shuffle_labels else recipe.data for seed in seeds}
    with tracker:
        runs = _run_all(infos, recipe, data_of, settings, tracker, shuffle_labels, engine, at_once, quiet)
        found = _put_together(
            infos, runs, recipe, seeds, reference, shuffle_labels, bootstrap, level, skipped, extraction
        )
        _leave(found, tracker)
    if not quiet:
        print(f"\n{found}\n\nPage: {recipe.run_dir / 'compare.html'}", flush=True)
    return found


def _checked_options(seeds: Sequence[int], bootstrap: int, level: float) -> tuple[int, ...]:
    found = tuple(int(seed) for seed in seeds)
    if not found or len(set(found)) != len(found):
        raise ValueError(f"compare: seeds {list(found)} must be different numbers, at least one.")
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, int) or bootstrap < 100:
        raise ValueError(f"compare: bootstrap={bootstrap!r} resamples can decide nothing; draw at least 100.")
    if not 0 < level < 1:
        raise ValueError(f"compare: level={level} must lie between 0 and 1; 0.95 is usual.")
    return found


def _placeholder(name: str) -> FPTArmInfo:
    """An ablation whose settings are not known before the backbone is."""
    return FPT_ARMS.get(name) or FPTArmInfo(name, "", "", "adapter")


def _opened(
    overrides: Mapping[str, Any], configs: Sequence[str], tokens: StoredTokens
) -> tuple[FPTRecipe, list[dict[str, Any]]]:
    """The recipe with a cache that holds these tokens, and what it took to fill it.

    Raises:
        ValueError: a section is empty.
    """
    value = train_parser(overrides, configs).get_parsed_content
    folder = Path(value("cache_dir"))
    if value("tokens") in _ORDER:  # what the caller wants kept anyway; FeatureSpec refuses another word
        tokens = max(tokens, value("tokens"), key=_ORDER.index)
    held = _held_tokens(folder)
    if held is not None and _ORDER.index(held) < _ORDER.index(tokens):
        folder = folder.with_name(f"{folder.name}_tokens_{tokens}")
        held = _held_tokens(folder)
    whole = dict(overrides) | {"cache_dir": str(folder), "tokens": held if held is not None else tokens}
    before, began = 0 if held is None else len(FeatureStore(folder)), time.monotonic()
    recipe = open_recipe(whole, configs)
    seconds = time.monotonic() - began
    for section in SECTIONS:
        if not recipe.data.section(section):
            raise ValueError(
                f"compare: the data list has no {section} images; a comparison needs all three sections, so give a split that has them."
            )
    fpt_require_one_label(recipe.data.test, value("aggregate"), recipe.data.task)
    images = len(recipe.store) - before
    return recipe, [{"cache": folder.name, "images": images, "seconds": seconds}] if images else []


def _held_tokens(folder: Path) -> StoredTokens | None:
    """Which tokens a cache holds; None where there is no cache."""
    if not (folder / "spec.json").is_file():
        return None
    held: StoredTokens = FeatureStore(folder).spec.tokens
    return held


def _settings(recipe: FPTRecipe, shuffle_labels: bool) -> dict[str, Any]:
    """What must be the same for every arm of a comparison."""
    value = recipe.parser({"data": recipe.data}).get_parsed_content
    spec = recipe.store.spec
    names = ("backbone", "backbone_fingerprint", "image_size", "mean", "std", "preprocessing", "compute_dtype")
    return {
        "data": recipe.data.digest,
        "labels_shuffled": shuffle_labels,
        "class_weights": str(value("class_weights") or "equal"),
        "batch_size": int(value("batch_size")),
        "features": {name: plain_json(getattr(spec, name)) for name in names},
    }


def _arm_settings(info: FPTArmInfo, shared: Mapping[str, Any], recipe: FPTRecipe) -> dict[str, Any]:
    own = dict(info.overrides) if info.kind == "adapter" else settings_of(info)
    if info.kind == "tuning":
        own |= augmentation_of(recipe)
    return {**shared, "arm": info.name, "options": plain_json(own)}


def _claim(run_dir: Path, shared: Mapping[str, Any]) -> None:
    """Say whose folder it is, or find that it is this comparison's.

    Raises:
        FileExistsError: it is another's.
    """
    path = run_dir / _FILE
    content = {"format": _FORMAT, "version": 1, "settings": plain_json(shared)}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8")).get("settings", {})
        now = content["settings"]
        other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if other:
            raise FileExistsError(
                f'compare: "{run_dir}" holds a comparison with other settings ({", ".join(other)}); choose another run_dir.'
            )
        return
    alien = [
        name for name in ("model.pt", "last.pt", "cross_validation.json", "search.json") if (run_dir / name).exists()
    ]
    if alien:
        raise FileExistsError(f'compare: "{run_dir}" holds something else ({alien[0]}); choose another run_dir.')
    write_json(path, content)


def _resolved(
    wanted: Sequence[FPTArmInfo], recipe: FPTRecipe, asked: str | Sequence[str | FPTArmInfo] | None
) -> tuple[list[FPTArmInfo], dict[str, str]]:
    """Ablations with their settings; what the backbone cannot do is left out of a group and refused by name.

    Raises:
        ValueError: an ablation that was named and cannot be made.
    """
    names = set(ablation_names()) - set(FPT_ARMS)
    given = asked.split(",") if isinstance(asked, str) else asked or ()
    words = {one.strip() for one in given if isinstance(one, str)}
    if not names & {info.name for info in wanted} and "ablation" not in words:
        return list(wanted), {}
    value = recipe.parser({"data": recipe.data}).get_parsed_content
    made, impossible = ablation_arms(
        value("network_config"), value("network_def").backbone, str(value("feature_dtype"))
    )
    named = sorted(words & set(impossible))
    if named:
        raise ValueError(
            f'compare: the arm "{named[0]}" makes no sense here, since {impossible[named[0]]}; leave it out.'
        )
    skipped = {
        info.name: impossible[info.name] for info in wanted if info.name in impossible and info.name not in words
    }
    for name, why in skipped.items():
        print(f"{name} is left out: {why}.", flush=True)
    kept = [info for info in wanted if info.name not in skipped]
    return [made.get(info.name, info) for info in kept], skipped


def _run_all(
    infos: Sequence[FPTArmInfo],
    recipe: FPTRecipe,
    data_of: Mapping[int, FPTDataList],
    settings: Mapping[str, Mapping[str, Any]],
    tracker: FPTTracker,
    shuffled: bool,
    engine: str,
    at_once: int,
    quiet: bool,
) -> dict[str, list[FPTArmRun]]:
    scratch = recipe.run_dir / ".scratch"
    tokens = FPTTokenReader(recipe.data, recipe.store, scratch)
    arm_data = None
    runs: dict[str, list[FPTArmRun]] = {}
    try:
        for info in infos:
            if not quiet:
                print(f"\n{info.name}: {info.line}", flush=True)
            if info.kind == "adapter":
                runs[info.name] = run_adapter(
                    info, recipe, data_of, settings[info.name], tracker, engine=engine, at_once=at_once, quiet=quiet
                )
                continue
            if arm_data is None:
                arm_data = make_arm_data(recipe, tokens, scratch)
            own = data_of if info.seeded or shuffled else dict(list(data_of.items())[:1])
            runs[info.name] = run_direct(info, arm_data, own, recipe, settings[info.name], tracker, quiet=quiet)
    finally:
        tokens.forget()
        shutil.rmtree(scratch, ignore_errors=True)
    return runs


def _put_together(
    infos: Sequence[FPTArmInfo],
    runs: Mapping[str, Sequence[FPTArmRun]],
    recipe: FPTRecipe,
    seeds: tuple[int, ...],
    reference: str,
    shuffled: bool,
    bootstrap: int,
    level: float,
    skipped: Mapping[str, str],
    extraction: Sequence[Mapping[str, Any]],
) -> FPTArmComparison:
    value = recipe.parser({"data": recipe.data}).get_parsed_content
    network = value("network_def")
    full = full_tuning_cost(network.config, network.backbone.depth, int(value("batch_size")), recipe.run_dir)
    aggregate = value("aggregate")
    drawn, stratified = drawn_auc(runs, aggregate=aggregate, bootstrap=bootstrap, seed=_RESAMPLES_SEED)
    reference = reference if reference in runs else infos[0].name
    to_reference = differences_to(drawn, reference, level)
    intervals = scores_of(drawn, level)
    rows = tuple(
        FPTArmRow(
            info=info,
            runs=tuple(runs[info.name]),
            validation=tuple(section_auc(run, "validation", None) for run in runs[info.name]),
            test=tuple(section_auc(run, "test", aggregate) for run in runs[info.name]),
            auc=intervals[info.name],
            difference=to_reference.get(info.name),
            share_of_parameters=runs[info.name][0].learnable_parameters / full.parameters,
            share_of_memory=(runs[info.name][0].training_bytes or 0) / full.training_bytes,
        )
        for info in infos
    )
    timed = [row for row in rows if row.seconds == row.seconds] or list(rows)
    plainest = min([row for row in timed if row.beats_guessing] or timed, key=lambda row: row.seconds).name
    tested = runs[infos[0].name][0].predictions["test"]
    spec = recipe.store.spec
    return FPTArmComparison(
        folder=recipe.run_dir,
        rows=rows,
        seeds=seeds,
        reference=reference,
        plainest=plainest,
        to_plainest=differences_to(drawn, plainest, level),
        full=full,
        images=len(tested),
        patients=len(set(tested.groups)),
        patients_known=tested.patients_known,
        classes=recipe.data.classes,
        counts={name: len(recipe.data.section(name)) for name in SECTIONS},
        shuffled=shuffled,
        level=level,
        bootstrap=bootstrap,
        stratified=stratified,
        aggregate=aggregate,
        skipped=skipped,
        extraction=extraction,
        backbone=f"{spec.backbone} at {spec.image_size} px, weights {spec.backbone_fingerprint[:12]}",
    )


def _leave(found: FPTArmComparison, tracker: FPTTracker) -> None:
    folder = found.folder
    write_json(folder / "compare.json", plain_json(found.to_dict()))
    write_text(folder / "compare.txt", f"{found}\n")
    write_text(folder / "compare.html", comparison_page(found))
    tracker.log_metrics(found.metrics())
    for name in ("compare.html", "compare.json", "compare.txt"):
        tracker.log_artifact(folder / name)
