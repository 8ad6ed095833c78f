"""What a new app begins with: a trained model that is copied in, or classes and a backbone.

How images were mirrored and turned when the model was trained is kept beside it (``augmentation.json``) and is what its
retrainings begin with: where left and right have a meaning, none of them may mirror.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt._files import whole_file, write_whole
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import fpt_weights_sha256
from monai_fpt.networks import FPTConfig
from monai_fpt.registry.predictor import (
    ADAPTER_FILE,
    BACKBONE_FILE,
    CALIBRATION_FILE,
    CARD_FILE,
    MODEL_FILE,
    load_adapter,
)

__all__ = ["AUGMENTATION_FILE", "is_true", "kept_augmentation", "settle_model"]

AUGMENTATION_FILE = "augmentation.json"
_CHANCES = ("flip_prob", "vertical_flip_prob", "rotate_prob")

logger = logging.getLogger(__name__)


def settle_model(model_dir: Path, conf: Mapping[str, str]) -> None:
    """Have a model in the app's folder; one that is there already stays.

    Args:
        model_dir: the app's model folder.
        conf: the app's options.

    Raises:
        FileNotFoundError: ``model`` names a folder without a model.
        ValueError: there is no model and nothing to begin with, an option that cannot be, or the app has another model or other classes.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    source = conf.get("model")
    if (model_dir / CARD_FILE).is_file():
        if source and not _same_model(Path(source), model_dir):
            raise ValueError(
                f'"{model_dir}" holds another model than "{source}"; leave out --conf model to go on with it, or begin with another app '
                "folder."
            )
        own = FPTModelCard.load(model_dir / CARD_FILE).classes
        if conf.get("classes") and _class_names(conf["classes"]) != own:
            raise ValueError(
                f"--conf classes {conf['classes']!r} are not those of the app's model ({', '.join(own)}); leave the option out, or begin with "
                "another app folder."
            )
        if (
            source and not (model_dir / AUGMENTATION_FILE).is_file()
        ):  # an app that an earlier version of this package made
            _keep_augmentation(Path(source), model_dir)
        return
    if source:
        _copy_model(Path(source), model_dir)
        return
    if not conf.get("classes"):
        raise ValueError(
            f'There is no model in "{model_dir}"; start the server with --conf model FOLDER (a run\'s folder or a package), or with '
            "--conf classes NAME,NAME and --conf backbone_weights FILE to begin without one."
        )
    _describe_model(model_dir, conf)


def _same_model(source: Path, model_dir: Path) -> bool:
    """Whether the app began with this model: the same facts and the same weights. What was trained since lies elsewhere in the app."""
    if FPTModelCard.load(source / CARD_FILE) != FPTModelCard.load(model_dir / CARD_FILE):
        return False
    if not any((model_dir / name).is_file() for name in (ADAPTER_FILE, MODEL_FILE)):
        return False
    return fpt_weights_sha256(load_adapter(source)) == fpt_weights_sha256(load_adapter(model_dir))


def _class_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _copy_model(source: Path, model_dir: Path) -> None:
    card = source / CARD_FILE
    weights = [source / name for name in (ADAPTER_FILE, MODEL_FILE) if (source / name).is_file()]
    if not card.is_file() or not weights:
        raise FileNotFoundError(
            f'There is no trained model in "{source}" (no {CARD_FILE}, or neither {MODEL_FILE} nor {ADAPTER_FILE}); give a run\'s folder '
            "or a package."
        )
    extras = [source / name for name in (BACKBONE_FILE, CALIBRATION_FILE) if (source / name).is_file()]
    bundled = [path for path in source.glob("*.safetensors") if path.name != ADAPTER_FILE] if extras else []
    _keep_augmentation(source, model_dir)
    for path in [*weights[:1], *extras, *bundled, card]:  # the card last: with it the model is there
        with whole_file(model_dir / path.name) as beside:
            shutil.copyfile(path, beside)
    logger.info("The app begins with the model of %s.", source)


def kept_augmentation(model_dir: Path) -> dict[str, Any]:
    """Chances that an image is mirrored or turned, by the names of :class:`~monai_fpt.monailabel.training_fit.FPTFitOptions`; empty
    where the app does not know them."""
    path = model_dir / AUGMENTATION_FILE
    return _chances(json.loads(path.read_text(encoding="utf-8")), path) if path.is_file() else {}


def _keep_augmentation(source: Path, model_dir: Path) -> None:
    """From the configuration that a run or a package has with it."""
    path = source / "config.json"
    if not path.is_file():
        logger.warning(
            "%s has no config.json, so trainings mirror images left to right as by default; send flip_prob 0 with each where left and "
            "right have a meaning.",
            source,
        )
        return
    chances = _chances(json.loads(path.read_text(encoding="utf-8")), path)
    write_whole(model_dir / AUGMENTATION_FILE, json.dumps(chances, indent=1) + "\n")


def _chances(config: Mapping[str, Any], where: Path | str) -> dict[str, float]:
    found = {name: config[name] for name in _CHANCES if name in config}
    try:
        numbers = {name: float(value) for name, value in found.items()}
        wrong = [name for name, value in numbers.items() if not 0 <= value <= 1]
    except (TypeError, ValueError):
        wrong = list(found)
    if wrong:
        raise ValueError(
            f'"{where}" says {wrong[0]}={found[wrong[0]]!r}, which is no probability; write a number from 0 to 1.'
        )
    return numbers


def _describe_model(model_dir: Path, conf: Mapping[str, str]) -> None:
    classes = _class_names(conf["classes"])
    if len(set(classes)) != len(classes) or not classes:
        raise ValueError(
            f"--conf classes {conf['classes']!r} names a class twice or none; give names with commas between."
        )
    task = conf.get("task", "multiclass")
    weights = conf.get("backbone_weights") or "timm"
    config = FPTConfig(
        backbone=conf.get("backbone", "vit_base_patch16_224"),
        backbone_weights=weights,
        image_size=int(conf.get("image_size", 512)),
        num_classes=len(classes),
        side_init="fan_in",  # an app learns from few labels in few steps
    )
    ordered = conf.get("ordered", "false").lower() == "true"
    write_whole(model_dir / AUGMENTATION_FILE, json.dumps(_chances(conf, "--conf"), indent=1) + "\n")
    FPTModelCard(config, classes=classes, task=task, ordered=ordered).save(model_dir / CARD_FILE)
    logger.info("The app begins without a trained model; classes %s.", ", ".join(classes))


def is_true(value: Any) -> bool:
    """What clients and the command line mean by a truth; the text ``"false"`` is none."""
    return value.strip().lower() in ("true", "1", "yes", "on") if isinstance(value, str) else bool(value)
