"""FPTRecipe: the bundle's training configuration, opened but not run, as the recipe of many trainings.

Everything of a training (network, loss, augmentation, optimizer, schedule, data set, cache) is made by the bundle's own
configuration, with what the caller overrides and with the presets the caller names; nothing of it is repeated here. What
is replaced is the loop around it: where the configuration asks for something that the loop of this room does not do,
:func:`stack_refusal` says what, and the training is run by the bundle itself. The loop does what the bundle's own sections
``train`` and ``validate`` say; of these only the settings in ``_FREE`` are read from them and may differ.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_fpt.bundle import bundle_config, fpt_bundle_root, override_config
from monai_fpt.data import FPTDataList
from monai_fpt.features import FeatureStore, FPTModelCard
from monai_fpt.handlers import fpt_clear_errors, fpt_flag

__all__ = ["FPTRecipe", "open_recipe", "stack_refusal", "train_parser"]

_ABSENT = object()
_TRAINABLE = "$[p for p in @network.parameters() if p.requires_grad]"
_KNOWN: dict[str, set[str]] = {  # optimizers and schedules of this room's loop: component to its arguments
    "torch.optim.AdamW": {"params", "lr", "betas", "eps", "weight_decay", "amsgrad"},
    "torch.optim.Adam": {"params", "lr", "betas", "eps", "weight_decay", "amsgrad"},
    "torch.optim.SGD": {"params", "lr", "momentum", "dampening", "weight_decay", "nesterov"},
    "torch.optim.lr_scheduler.CosineAnnealingLR": {"optimizer", "T_max", "eta_min"},
    "torch.optim.lr_scheduler.OneCycleLR": {"*"},
    "torch.optim.lr_scheduler.LinearLR": {"*"},
    "torch.optim.lr_scheduler.ConstantLR": {"*"},
    "torch.optim.lr_scheduler.LambdaLR": {"*"},
    "monai_fpt.transforms.*": {"*"},
    "Compose": {"transforms"},
}
_FREE = (  # ids below train and validate that the loop reads, as shell patterns
    "train#preprocessing#*",
    "validate#preprocessing#*",
    "train#handlers#*#max_norm",
    "train#handlers#*#interval",
    "validate#key_metric#*",
    "validate#additional_metrics#*",
)


@dataclasses.dataclass(frozen=True)
class FPTRecipe:
    """An opened configuration whose images are in the cache.

    Attributes:
        overrides: ids of the bundle and their values.
        configs: further configuration files.
        run_dir: where results go.
        data: all images, those that could not be read left out where the configuration allows it.
        root: the folder that the images' keys are relative to.
        store: the cache; whole for ``data``.
        card: facts of a model trained by this recipe.
        device: of the training.
    """

    overrides: Mapping[str, Any]
    configs: tuple[str, ...]
    run_dir: Path
    data: FPTDataList
    root: Path
    store: FeatureStore
    card: FPTModelCard
    device: torch.device

    def parser(self, more: Mapping[str, Any] | None = None) -> ConfigParser:
        """The configuration with further overrides, nothing of it made yet."""
        return train_parser(dict(self.overrides) | dict(more or {}), self.configs)


def open_recipe(overrides: Mapping[str, Any], configs: Sequence[str] = ()) -> FPTRecipe:
    """Read the configuration, build the data list, and extract what the cache lacks.

    Args:
        overrides: ids of the bundle's training configuration and their values.
        configs: further configuration files, merged after the bundle's own (presets).

    Raises:
        ValueError: an id that the bundle does not have, or a data set that is not in order.
    """
    fpt_clear_errors()
    parser = train_parser(overrides, configs)
    parser["preparing_is_plain"] = (
        "$monai_fpt.handlers.fpt_check_preparing(@preparing, monai_fpt.handlers.fpt_executed_config().get('preparing', []))"
    )
    parser.get_parsed_content("preparing_is_plain")
    data: FPTDataList = parser.get_parsed_content("data")
    store: FeatureStore = parser.get_parsed_content("store")
    parser.get_parsed_content("extraction")()
    return FPTRecipe(
        overrides=dict(overrides),
        configs=tuple(configs),
        run_dir=Path(parser.get_parsed_content("run_dir")).absolute(),
        data=data,
        root=_root(parser, data),
        store=store,
        card=parser.get_parsed_content("card"),
        device=torch.device(parser.get_parsed_content("device")),
    )


def train_parser(overrides: Mapping[str, Any], configs: Sequence[str] = ()) -> ConfigParser:
    """The bundle's training configuration with overrides, as :func:`monai_fpt.bundle.run_bundle` reads it.

    Raises:
        ValueError: an id that the bundle does not have.
    """
    parser = ConfigParser()
    parser.read_config([str(bundle_config("train")), *configs])
    parser.read_meta(str(fpt_bundle_root() / "configs" / "metadata.json"))
    override_config(parser, overrides, "train")
    return parser


def stack_refusal(parser: ConfigParser) -> str:
    """What of a configuration the loop of this room does not do; empty where it does everything."""
    config, own = parser.config, train_parser({}).config
    for section in ("train", "validate"):
        theirs, ours = _leaves(config.get(section), section), _leaves(own[section], section)
        for where in sorted(theirs.keys() | ours.keys()):
            free = any(fnmatch.fnmatchcase(where, pattern) for pattern in _FREE)
            if not free and theirs.get(where, _ABSENT) != ours.get(where, _ABSENT):
                return f"{where} is {theirs[where]!r}" if where in theirs else f"{where} is missing"
    free_parts = {
        "optimizer": config.get("optimizer"),
        "lr_scheduler": config.get("lr_scheduler"),
        "train#preprocessing": config["train"]["preprocessing"],
        "validate#preprocessing": config["validate"]["preprocessing"],
    }
    for where, component in _components(free_parts):
        target = str(component["_target_"])
        allowed = next((keys for name, keys in _KNOWN.items() if fnmatch.fnmatchcase(target, name)), None)
        if allowed is None:
            return f'{where} is "{target}"'
        extra = sorted(set(component) - allowed - {"_target_"})
        if extra and "*" not in allowed:
            return f'{where} ("{target}") has {", ".join(extra)}'
    if config["optimizer"].get("params") != _TRAINABLE:
        return "the optimizer treats some weights otherwise than others"
    if (
        str(config["loss"].get("_target_")) != "monai_fpt.networks.FPTLoss"
        or config["loss_function"] != own["loss_function"]
    ):
        return f'the loss is "{config["loss"].get("_target_")}", {config["loss_function"]}'
    return "amp is on" if fpt_flag(parser.get_parsed_content("amp"), "amp") else ""


def _leaves(node: Any, where: str) -> dict[str, Any]:
    """Every value of a part of a configuration by its id; an empty list or dictionary is a value."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found: dict[str, Any] = {}
    for name, child in children:
        found |= _leaves(child, f"{where}#{name}")
    return found or {where: node}


def _components(node: Any, where: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every component of a configuration with its place."""
    found = [(where, node)] if isinstance(node, dict) and "_target_" in node else []
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        found += _components(child, f"{where}#{name}" if where else str(name))
    return found


def _root(parser: ConfigParser, data: FPTDataList) -> Path:
    """The folder under which the keys of the data list are found, for saved lists of folds.

    Raises:
        ValueError: the images do not lie where their keys say.
    """
    folder, table = (parser.get_parsed_content(name) for name in ("dataset_dir", "data_list"))
    root = Path(folder) if folder else Path(table).expanduser().parent
    root = root.expanduser().absolute()
    for item in (*data.training, *data.validation, *data.test):
        key = str(item["key"])
        key = key if item.get("frame") is None else key.removesuffix(f"#{item['frame']}")
        if Path(item["image"]).resolve() != (root / key).resolve():
            raise ValueError(
                f'image {item["key"]!r} of the data list does not lie in "{root}"; give as dataset_dir the folder that the list is relative to.'
            )
    return root
