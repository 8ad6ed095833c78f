"""Arms that are functions of their data: probes and tuning arms, seed after seed, each a run of its own below the comparison's."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_fpt.compare.arm import FPTArm, FPTArmData, FPTArmResult, without_test_labels
from monai_fpt.compare.arms import FPTArmInfo, tuning_arm
from monai_fpt.compare.record import FPTArmRun
from monai_fpt.compare.tokens import FPTTokenReader
from monai_fpt.data import FPTDataList
from monai_fpt.experiments.recipe import FPTRecipe
from monai_fpt.features import FeatureDataset, FeatureStore
from monai_fpt.handlers import FPTTracker
from monai_fpt.handlers.predictions import contents_of, facts_of
from monai_fpt.metrics import FPTPredictions

__all__ = ["arm_of", "make_arm_data", "run_direct", "settings_of"]


def arm_of(info: FPTArmInfo) -> FPTArm:
    """The function behind a name."""
    return tuning_arm(info.name) if info.arm is None else info.arm


def settings_of(info: FPTArmInfo) -> dict[str, Any]:
    """The settings of an arm, for what is kept beside its results."""
    arm: Any = arm_of(info)
    if dataclasses.is_dataclass(arm):
        return {field.name: getattr(arm, field.name) for field in dataclasses.fields(arm)}
    return {"function": f"{getattr(arm, '__module__', '')}.{getattr(arm, '__qualname__', type(arm).__name__)}"}


def make_arm_data(recipe: FPTRecipe, tokens: FPTTokenReader, work_dir: Path) -> FPTArmData:
    """What every arm sees of a recipe, the labels of the test section blanked."""
    parser = recipe.parser({"tokens": "none", "cache_dir": str(recipe.store.path)})
    parser["data"] = recipe.data
    parser["arm_loading"] = "$monai.transforms.Compose([@loader, *@preparing])"
    value = parser.get_parsed_content
    network = value("network_def")
    spec = recipe.store.spec
    pooled = spec.tokens == "pooled"
    has_class_token = bool(network.backbone.has_class_token)
    return FPTArmData(
        data=without_test_labels(recipe.data),
        task=recipe.data.task,
        num_classes=len(recipe.data.classes),
        backbone=network.backbone,
        network_config=network.config,
        load=_Loading(value("arm_loading")),
        tokens=tokens,
        num_prefix_tokens=int(has_class_token) if pooled else network.backbone.num_prefix_tokens,
        has_class_token=has_class_token,
        work_dir=work_dir,
        device=recipe.device,
        class_weights=str(value("class_weights") or "equal"),
        mean=tuple(spec.mean),
        std=tuple(spec.std),
        batch_size=int(value("batch_size")),
        **augmentation_of(recipe),
    )


def augmentation_of(recipe: FPTRecipe) -> dict[str, float]:
    """The chances of flips and turns in training, which arms that read images take over."""
    value = recipe.parser({}).get_parsed_content
    return {name: float(value(name)) for name in ("flip_prob", "vertical_flip_prob", "rotate_prob")}


class _Loading:
    """Item to its image (3, H, W) float32 in [0, 1]."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, item: Mapping[str, Any]) -> Tensor:
        image = torch.as_tensor(self.transform(dict(item))["image"]).as_subclass(Tensor)
        return image.float()


def run_direct(
    info: FPTArmInfo,
    arm_data: FPTArmData,
    data_of: Mapping[int, FPTDataList],
    recipe: FPTRecipe,
    settings: Mapping[str, Any],
    tracker: FPTTracker,
    *,
    quiet: bool,
) -> list[FPTArmRun]:
    """Run what is not finished yet.

    Args:
        info: of the arm.
        arm_data: what it sees; its data are replaced by the seed's.
        data_of: seed to its data list.
        recipe: the recipe that all arms share.
        settings: to keep beside the results.
        tracker: of the comparison.
        quiet: print nothing.

    Returns:
        a run a seed, in their order.
    """
    found = []
    for seed, data in data_of.items():
        folder = recipe.run_dir / info.name / f"seed_{seed}"
        run = FPTArmRun.load(folder, settings)
        if run is None:
            run = _run(
                info,
                dataclasses.replace(arm_data, data=without_test_labels(data)),
                seed,
                data,
                recipe,
                settings,
                tracker,
            )
            if not quiet:
                told = ", ".join(
                    f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in run.chosen.items()
                )
                print(f"{info.name}, seed {seed}: {told}  {run.seconds:.1f} s", flush=True)
        found.append(run)
    return found


def _run(
    info: FPTArmInfo,
    arm_data: FPTArmData,
    seed: int,
    data: FPTDataList,
    recipe: FPTRecipe,
    settings: Mapping[str, Any],
    tracker: FPTTracker,
) -> FPTArmRun:
    folder = recipe.run_dir / info.name / f"seed_{seed}"
    arm_data.work_dir.mkdir(parents=True, exist_ok=True)
    if info.tokens != "none":
        for section in ("training", "validation", "test"):
            arm_data.tokens(section)  # reading them is no arm's time, for they are read once for all
    if callable(open_images := getattr(arm_of(info), "open_images", None)):
        open_images(arm_data)  # likewise decoded images of tuning arms
    own = FPTTracker(
        folder,
        run_name=f"{tracker.run_name}/{info.name}/seed_{seed}",
        params={"arm": info.name, "seed": seed, "settings": settings_of(info)},
        parent=tracker,
        system_metrics=False,
        data=data,
    )
    with own:
        own.start()
        began = time.monotonic()
        result = arm_of(info)(arm_data, seed)
        seconds = time.monotonic() - began
        run = FPTArmRun(
            arm=info.name,
            seed=seed,
            predictions={name: _predictions(name, data, result, recipe.store) for name in ("validation", "test")},
            learnable_parameters=result.learnable_parameters,
            training_bytes=result.training_bytes,
            seconds=seconds,
            best_epoch=result.best_epoch,
            chosen=result.chosen,
            history=list(result.history),
            settings=settings,
        )
        run.save(folder)
        for epoch, metrics in enumerate(run.history, start=1):
            own.log_metrics(metrics, step=epoch)
        step = run.best_epoch or 0
        own.log_metrics({f"test_{name}": value for name, value in run.scores("test").items()}, step=step)
        own.log_metrics({f"best_val_{name}": value for name, value in run.scores("validation").items()}, step=step)
        own.log_params({f"chosen.{name}": value for name, value in run.chosen.items()})
    return run


def _predictions(section: str, data: FPTDataList, result: FPTArmResult, store: FeatureStore) -> FPTPredictions:
    """Logits of an arm with what belongs to the images.

    Raises:
        ValueError: logits of another number of images or classes.
    """
    items = data.section(section)
    logits = result.logits.get(section)
    expected = (len(items), len(data.classes))
    if logits is None or tuple(logits.shape) != expected:
        shape = None if logits is None else tuple(logits.shape)
        raise ValueError(
            f"compare: an arm gave logits {shape} for the {section} section, which needs {expected}; correct the arm."
        )
    return FPTPredictions(
        keys=tuple(str(item["key"]) for item in items),
        groups=tuple(str(item.get("group", item["key"])) for item in items),
        labels=np.array([item["label"] for item in items]),
        logits=logits.detach().cpu().double().numpy(),
        classes=data.classes,
        task=data.task,
        ordered=data.ordered,
        facts=facts_of(items),
        contents=contents_of(items, FeatureDataset(items, store)),
    )
