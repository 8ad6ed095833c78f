"""What a new app begins with: a trained model that is copied in, or classes and a backbone.

Decisions:

- How images were mirrored and turned when the model was trained is kept beside it (``augmentation.json``) and is what its
  retrainings begin with: where left and right have a meaning, none of them may mirror. These may change at any start.
- What else was chosen at the first start holds for the app: labels, cache and versions follow from it. An option that says otherwise later
  is refused, not passed over.
- A start that fails, since the backbone cannot be made for example, leaves nothing behind that the next one would go on with.
- An option that does not exist is told with the one that is meant, and the server starts: MONAI Label has options of its own.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_fpt._files import whole_file, write_whole
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import fpt_weights_sha256
from monai_fpt.monailabel.booleans import is_true
from monai_fpt.monailabel.training_before import LEARNED_FILE, keep_learned
from monai_fpt.networks import FPTConfig
from monai_fpt.registry.predictor import (
    ADAPTER_FILE,
    BACKBONE_FILE,
    CALIBRATION_FILE,
    CARD_FILE,
    MODEL_FILE,
    load_adapter,
)

__all__ = ["AUGMENTATION_FILE", "kept_augmentation", "settled_model", "unknown_options"]

AUGMENTATION_FILE = "augmentation.json"
_OPTIONS = (
    "model",
    "classes",
    "backbone_weights",
    "device",
    "warm_up",
    "track",
    "tracking_uri",
    "task",
    "ordered",
    "backbone",
    "image_size",
    "flip_prob",
    "vertical_flip_prob",
    "rotate_prob",
)
_MONAI_LABEL = ("server_mode",)  # read by MONAILabelApp itself
_CHANCES = ("flip_prob", "vertical_flip_prob", "rotate_prob")

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def settled_model(model_dir: Path, conf: Mapping[str, str]) -> Iterator[None]:
    """Have a model in the app's folder; one that is there already stays. What is made here is removed again where the block fails.

    Args:
        model_dir: the app's model folder.
        conf: the app's options.

    Raises:
        FileNotFoundError: ``model`` names a folder without a model.
        ValueError: there is no model and nothing to begin with, an option that cannot be, or one that is not what the app began with.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    first, before = not (model_dir / CARD_FILE).is_file(), set(model_dir.iterdir())
    augmentation = model_dir / AUGMENTATION_FILE
    kept = augmentation.read_bytes() if augmentation.is_file() else None
    try:
        _settle(model_dir, conf)
        yield
    except BaseException:
        for path in set(model_dir.iterdir()) - before if first else ():
            if path.is_file():
                path.unlink(missing_ok=True)
        if kept is not None:
            write_whole(augmentation, kept)
        raise


def unknown_options(conf: Mapping[str, str]) -> list[str]:
    """A sentence for each option that neither this app nor MONAI Label has."""
    told = []
    for name in conf:
        if name in _OPTIONS or name in _MONAI_LABEL:
            continue
        alike = difflib.get_close_matches(name, _OPTIONS, 1)
        meant = f"did you mean {alike[0]}?" if alike else f"options are {', '.join(_OPTIONS)}."
        told.append(f"--conf {name[:40]} is no option of this app and does nothing; {meant}")
    return told


def _settle(model_dir: Path, conf: Mapping[str, str]) -> None:
    source = conf.get("model")
    if (model_dir / CARD_FILE).is_file():
        if source and not _same_model(Path(source), model_dir):
            raise ValueError(
                f'"{model_dir}" holds another model than "{source}"; leave out --conf model to go on with it, or begin with another app '
                "folder."
            )
        _refuse_other(FPTModelCard.load(model_dir / CARD_FILE), conf, model_dir)
        if source and not (model_dir / AUGMENTATION_FILE).is_file():  # an earlier version of this package made the app
            _keep_augmentation(Path(source), model_dir)
        if source and not (model_dir / LEARNED_FILE).is_file():  # likewise
            keep_learned(Path(source), model_dir)
    elif source:
        _copy_model(Path(source), model_dir)
        _refuse_other(FPTModelCard.load(model_dir / CARD_FILE), conf, model_dir)
    elif conf.get("classes"):
        _describe_model(model_dir, conf)
    else:
        raise ValueError(
            f'There is no model in "{model_dir}"; start the server with --conf model FOLDER (a run\'s folder or a package), or with '
            "--conf classes NAME,NAME and --conf backbone_weights FILE to begin without one."
        )
    _set_augmentation(model_dir, conf)


def _refuse_other(card: FPTModelCard, conf: Mapping[str, str], model_dir: Path) -> None:
    """Options that say otherwise than the app's model."""
    own: dict[str, Any] = {
        "classes": card.classes,
        "task": card.task,
        "ordered": card.ordered,
        "backbone": card.network.backbone,
        "image_size": card.network.image_size,
    }
    for name, value in own.items():
        text = conf.get(name)
        if text in (None, "") or _option(name, str(text)) == value:
            continue
        shown = ",".join(value) if name == "classes" else str(value).lower() if name == "ordered" else value
        raise ValueError(
            f"--conf {name} {text} is not what the model of this app has, {name} {shown}; leave the option out, or begin with another app "
            f'folder (where nothing was trained yet, removing "{model_dir}" does as well; labels lie with the images and stay).'
        )


def _option(name: str, text: str) -> Any:
    """An option's value as a model's card has it."""
    if name == "classes":
        return _class_names(text)
    if name == "ordered":
        return is_true(text, "--conf ordered")
    if name == "image_size":
        if not text.strip().isdigit():
            raise ValueError(f"--conf image_size {text[:40]!r} is no number of pixels; give for example 512.")
        return int(text)
    return text


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
    keep_learned(source, model_dir)
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


def _set_augmentation(model_dir: Path, conf: Mapping[str, str]) -> None:
    """What the command line says of it, which may change from start to start and stays."""
    said = _chances(conf, "--conf")
    before = kept_augmentation(model_dir)
    if said and {**before, **said} != before:
        write_whole(model_dir / AUGMENTATION_FILE, json.dumps({**before, **said}, indent=1) + "\n")
        logger.info("From now on trainings mirror and turn images with %s.", {**before, **said})


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
    config = FPTConfig(
        backbone=conf.get("backbone", "vit_base_patch16_224"),
        backbone_weights=conf.get("backbone_weights") or "timm",
        image_size=_option("image_size", conf.get("image_size", "512")),
        num_classes=len(classes),
        side_init="fan_in",  # an app learns from few labels in few steps
    )
    ordered = _option("ordered", conf.get("ordered", "false"))
    FPTModelCard(config, classes=classes, task=conf.get("task", "multiclass"), ordered=ordered).save(
        model_dir / CARD_FILE
    )
    logger.info("The app begins without a trained model; classes %s.", ", ".join(classes))
