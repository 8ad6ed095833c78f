"""Arms that the recipe trains itself: FPT+, FPT, the side network alone, presets, ablations. All seeds of an arm are trained side by side.

Whatever differs between two of them is ids of the configuration. Those with the same features read the same cache; another specification
gets a cache of its own beside it, named by the start of its fingerprint (``features_1a2b3c4d``), so that no ablation spoils another.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.compare.arms import FPTArmInfo
from monai_fpt.compare.caches import open_counted
from monai_fpt.compare.fillings import CacheFillings
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.data import FPTDataList
from monai_fpt.experiments import FPTMemberPlan
from monai_fpt.experiments.member import collated
from monai_fpt.experiments.recipe import FPTRecipe, train_parser
from monai_fpt.experiments.runs import finished_run, run_plans
from monai_fpt.handlers import FPTTracker, fpt_flag, fpt_root_cause
from monai_fpt.handlers.checkpoint import checked_selection
from monai_fpt.networks import FPTClassifier, FPTConfig
from monai_fpt.networks.counting import learnable_parameters, training_bytes

__all__ = ["adapter_recipe", "arm_configuration", "require_adapters", "run_adapter", "without_linear_members"]


def _preset_path(name: str) -> Path:
    """File of a preset of the bundle.

    Raises:
        ValueError: there is none of this name.
    """
    path = fpt_bundle_root() / "configs" / "presets" / f"{name}.json"
    if not path.is_file():
        raise ValueError(f'compare: the bundle has no preset "{name}", which an arm wants; leave the arm out.')
    return path


def arm_configuration(
    info: FPTArmInfo, overrides: Mapping[str, Any], configs: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Overrides and configuration files of an adapter: those of all arms, its preset, and what is its own.

    Args:
        info: of the arm.
        overrides, configs: of all arms.

    Raises:
        ValueError: its preset is missing.
    """
    own, files = dict(overrides), tuple(configs)
    if info.preset is not None:
        path = _preset_path(info.preset)
        files = (*files, str(path))
        own = _overruled(own, json.loads(path.read_text(encoding="utf-8")))
    return own | dict(info.overrides), files


def _arm_parser(info: FPTArmInfo, base: FPTRecipe) -> ConfigParser:
    """The configuration of an arm on the data of all, nothing of it made yet."""
    parser = train_parser(*arm_configuration(info, base.overrides, base.configs))
    parser["data"] = base.data
    return parser


def without_linear_members(info: FPTArmInfo, base: FPTRecipe) -> FPTArmInfo:
    """The arm; one that uses no features has the recipe's side networks and none of its linear members, which would be constants.

    Args:
        info: of the arm.
        base: the recipe that all arms share.
    """
    if info.overrides.get("use_features", True) is not False:
        return info
    config: FPTConfig = _arm_parser(info, base).get_parsed_content("network_config")
    if not 0 < config.linear_members < config.members:  # all of them: the model card says that it cannot be
        return info
    members = {
        "network_config#members": config.members - config.linear_members,
        "network_config#linear_members": 0,
    }
    return dataclasses.replace(info, overrides={**info.overrides, **members})


def require_adapters(infos: Sequence[FPTArmInfo], base: FPTRecipe) -> None:
    """Refuse an adapter that cannot be made before the first arm is trained.

    Args:
        infos: of the arms, their settings whole.
        base: the recipe that all arms share.

    Raises:
        ValueError: names the arm and says why.
    """
    usual = train_parser({}).config["network_def"]
    for info in infos:
        if info.kind != "adapter":
            continue
        parser = _arm_parser(info, base)
        value = parser.get_parsed_content
        try:
            checked_selection(value("model_selection"))
            value("loss")
            config = value("network_config")
            if parser.config["network_def"] == usual:
                with torch.device("meta"):
                    FPTClassifier(dataclasses.replace(config, backbone_weights=None))
        except (RuntimeError, ValueError) as error:
            raise ValueError(f'compare: the arm "{info.name}" cannot be: {fpt_root_cause(error) or error}') from None


def adapter_recipe(info: FPTArmInfo, base: FPTRecipe, fillings: CacheFillings) -> FPTRecipe:
    """The recipe of an arm, its cache filled.

    Args:
        info: of the arm.
        base: the recipe that all arms share.
        fillings: gets what it took to fill caches.

    Raises:
        ValueError: the arm's settings do not fit the backbone, or its data list is not the same.
    """
    overrides, configs = arm_configuration(info, base.overrides, base.configs)
    overrides |= {"tokens": "none", "cache_dir": str(base.store.path)}
    recipe = dataclasses.replace(base, overrides=overrides, configs=configs)
    spec = recipe.parser({"data": base.data}).get_parsed_content("spec")
    folder = base.store.path
    if spec.without_tokens() != base.store.spec.without_tokens():
        folder = folder.parent / f"{folder.name}_{spec.fingerprint[:8]}"
    elif not overrides.get("views"):
        return recipe
    opened = open_counted(overrides | {"cache_dir": str(folder)}, configs, folder, fillings)
    if opened.data.digest != base.data.digest:
        raise ValueError(
            f'compare: the arm "{info.name}" has another data list than the others; leave its ids of the data out.'
        )
    return opened


def _overruled(overrides: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides without what a preset sets, so that the preset, which is merged before them, wins.

    ``"+network_config": {"side_init": "fan_in"}`` sets ``network_config#side_init``; where the caller sets ``network_config`` whole, the
    preset's part is put into that.
    """
    found = {name.replace("::", "#"): value for name, value in overrides.items()}
    for name, value in preset.items():
        plain = name.replace("::", "#")
        parts = (
            {f"{plain[1:]}#{one}": inner for one, inner in value.items()} if plain.startswith("+") else {plain: value}
        )
        for part, inner in parts.items():
            found.pop(part, None)
            owner, _, last = part.rpartition("#")
            if isinstance(found.get(owner), Mapping):
                found[owner] = {**found[owner], last: inner}
    return found


def run_adapter(
    info: FPTArmInfo,
    base: FPTRecipe,
    data_of: Mapping[int, FPTDataList],
    settings: Mapping[str, Any],
    tracker: FPTTracker,
    fillings: CacheFillings,
    *,
    engine: str,
    at_once: int,
    quiet: bool,
) -> list[FPTArmRun]:
    """Train what is not trained yet.

    Args:
        info: of the arm.
        base: the recipe that all arms share; its ``run_dir`` gets ``ARM/seed_N``.
        data_of: seed to its data list.
        settings: to keep beside the results.
        tracker: of the comparison.
        fillings: gets what it took to fill caches.
        engine: see :func:`monai_fpt.experiments.runs.run_plans`.
        at_once: trained side by side at most.
        quiet: print nothing.

    Returns:
        a run a seed, in their order.
    """
    recipe = adapter_recipe(info, base, fillings)
    plans = [
        FPTMemberPlan(f"{info.name}/seed_{seed}", data, {"seed": seed, "split_seed": seed, "report": False})
        for seed, data in data_of.items()
    ]
    folders = [base.run_dir / plan.name for plan in plans]
    known = [FPTArmRun.load(folder, settings) for folder in folders]
    untrained = [not (folder / "training.json").is_file() for folder in folders]
    stopped = [new and (folder / "last.pt").is_file() for folder, new in zip(folders, untrained, strict=True)]
    timed = [new and not half for new, half in zip(untrained, stopped, strict=True)]
    if any(untrained):
        tracker.start()  # the store's first answer is no arm's time
    if any(stopped):  # they go on where they were stopped: what is left of one is not the time of a training
        halves = [plan for plan, half in zip(plans, stopped, strict=True) if half]
        run_plans(recipe, halves, tracker, engine=engine, at_once=at_once, report=False, quiet=quiet)
    began = time.monotonic()
    run_plans(recipe, plans, tracker, engine=engine, at_once=at_once, report=False, quiet=quiet)
    seconds = (time.monotonic() - began) / max(1, sum(timed))
    if all(run is not None for run in known):
        return [run for run in known if run is not None]
    learnable, memory = _cost(recipe, plans[0])
    chooses = recipe.parser().get_parsed_content("model_selection") == "best"
    found = []
    for seed, folder, run, is_new in zip(data_of, folders, known, timed, strict=True):
        found.append(
            run
            or _record(info.name, seed, folder, learnable, memory, seconds if is_new else math.nan, settings, chooses)
        )
    return found


def _record(
    arm: str,
    seed: int,
    folder: Path,
    learnable: int,
    memory: int,
    seconds: float,
    settings: Mapping[str, Any],
    chooses: bool,
) -> FPTArmRun:
    """What a finished training left, with its cost."""
    finished = finished_run(folder)
    run = FPTArmRun(
        arm=arm,
        seed=seed,
        predictions=finished.predictions,
        learnable_parameters=learnable,
        training_bytes=memory,
        seconds=seconds,
        best_epoch=finished.best_epoch,
        chosen={"epoch": finished.best_epoch} if chooses else {},
        history=[],
        settings=settings,
    )
    run.save_record(folder)
    return run


def _cost(recipe: FPTRecipe, plan: FPTMemberPlan) -> tuple[int, int]:
    """Learnable parameters, and bytes of a step of the bundle's own network, loss, optimizer and batch.

    Where features are not used, the network is given zeros in their place. One zero a head says the same as many (attention over equal keys
    gives their one value), so that such an arm is charged for no features.
    """
    parser = recipe.parser(plan.overrides)
    parser["data"] = plan.data
    value = parser.get_parsed_content
    network, dataset, loss = value("network"), value("train#dataset"), value("loss_function")
    rows = range(min(int(value("train#dataloader#batch_size")), len(dataset)))
    images, features, labels = collated([dataset[row] for row in rows])
    device = recipe.device
    if not fpt_flag(value("use_features"), "use_features"):
        shape = (features[0] if isinstance(features, tuple) else features).shape
        features = torch.zeros((), dtype=torch.float16, device=device).expand(*shape[:4], 1, shape[5])
    parts = [part.to(device) for part in (features if isinstance(features, tuple) else (features,))]
    given: Any = type(features)(*parts) if isinstance(features, tuple) else parts[0]
    images, labels = images.to(device), labels.to(device)
    network.train()
    memory = training_bytes(
        network,
        lambda: loss(network(images, given), labels),
        [images, labels, *parts],
        value("optimizer"),
        resident=False,
    )
    return learnable_parameters(network), memory
