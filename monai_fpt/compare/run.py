"""run_comparison: one data list, one backbone, several ways to learn from it, and one table.

Folder of a comparison (the ``run_dir`` of the configuration):

    features/                        the cache, filled once, read by all; features_1a2b3c4d/ of arms with other features
    fpt_plus/seed_0/ ...             a folder each training; an adapter's is a run folder of the bundle
    comparison.json                  what the comparison is of; another one is refused in this folder
    compare.html, .json, .txt        the answer, written anew whenever arms or seeds are added

Decisions:

- Data list, sections, reading, backbone and class weights are those of the recipe for every arm; what else an arm does is as its authors
  say, and is in its settings. The batch size is the recipe's where the arm has none of its own.
- What can be refused is refused before an image is read (:mod:`monai_fpt.compare.options`), or at least before the first arm is trained.
- A finished training is not repeated. Arms and seeds can be added later; the answer is over the arms that the call names.
- The test section is scored when all arms are done; no arm sees its labels (:mod:`monai_fpt.compare.arm`).
- Everything is tracked: one run above, a run a training below.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from monai_fpt.compare.ablation import ablation_arms, ablation_names
from monai_fpt.compare.adapters import require_adapters, run_adapter, without_linear_members
from monai_fpt.compare.answer import leave_comparison, put_together
from monai_fpt.compare.arms import FPT_ARMS, FPTArmInfo, named_arms, require_packages, with_options
from monai_fpt.compare.caches import TOKEN_ORDER, recipe_with_tokens
from monai_fpt.compare.comparison import FPTArmComparison
from monai_fpt.compare.direct import make_arm_data, run_direct
from monai_fpt.compare.fillings import CacheFillings
from monai_fpt.compare.options import chosen_reference, require_arm_options, require_numbers, require_seeds
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.compare.shared import arm_settings, claim_folder, shared_settings
from monai_fpt.compare.shuffle import shuffled_labels
from monai_fpt.compare.tokens import FPTTokenReader
from monai_fpt.data import FPTDataList
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.experiments.recipe import FPTRecipe
from monai_fpt.experiments.runs import experiment_tracker
from monai_fpt.features import StoredTokens
from monai_fpt.handlers import FPTTracker, fpt_require_one_label

__all__ = ["run_comparison"]


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
        reference: the arm that the others are compared with. The first is taken where the usual one is not among the arms.
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
    seeds = require_seeds(seeds)
    require_numbers(bootstrap, level, engine, at_once)
    wanted = named_arms(arms, {name: _placeholder(name) for name in ablation_names()})
    require_packages(wanted)
    options = dict(arm_options or {})
    require_arm_options(wanted, options, overrides, configs)
    chosen_reference(reference, [info.name for info in wanted])
    most: StoredTokens = max((info.tokens for info in wanted), key=TOKEN_ORDER.index)
    fillings = CacheFillings()
    recipe = recipe_with_tokens(overrides, configs, most, fillings)
    _require_sections(recipe)
    shared = shared_settings(recipe, shuffle_labels)
    claim_folder(recipe.run_dir, shared)
    fillings.keep_in(recipe.run_dir)
    infos, skipped = _resolved(wanted, recipe, arms)
    reference = chosen_reference(reference, [info.name for info in infos], skipped)
    infos = [with_options(without_linear_members(info, recipe), options.get(info.name, {})) for info in infos]
    require_adapters(infos, recipe)
    settings = {info.name: arm_settings(info, shared, recipe) for info in infos}
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
        runs = _run_all(infos, recipe, data_of, settings, tracker, fillings, shuffle_labels, engine, at_once, quiet)
        found = put_together(
            infos,
            runs,
            recipe,
            seeds=seeds,
            reference=reference,
            shuffled=shuffle_labels,
            bootstrap=bootstrap,
            level=level,
            skipped=skipped,
            extraction=fillings.told(),
        )
        leave_comparison(found, tracker)
    if not quiet:
        print(f"\n{found}\n\nPage: {recipe.run_dir / 'compare.html'}", flush=True)
    return found


def _placeholder(name: str) -> FPTArmInfo:
    """An ablation whose settings are not known before the backbone is."""
    return FPT_ARMS.get(name) or FPTArmInfo(name, "", "", "adapter")


def _require_sections(recipe: FPTRecipe) -> None:
    """Refuse a list that cannot be compared on.

    Raises:
        ValueError: a section is empty, or patients of several labels are to be put together.
    """
    for section in SECTIONS:
        if not recipe.data.section(section):
            raise ValueError(
                f"compare: the data list has no {section} images; a comparison needs all three sections, so give a split that has them."
            )
    fpt_require_one_label(recipe.data.test, recipe.parser().get_parsed_content("aggregate"), recipe.data.task)


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
    fillings: CacheFillings,
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
                    info,
                    recipe,
                    data_of,
                    settings[info.name],
                    tracker,
                    fillings,
                    engine=engine,
                    at_once=at_once,
                    quiet=quiet,
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
