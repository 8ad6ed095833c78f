"""FPTPackage: a folder that holds everything of a trained model but, as a rule, its backbone, and says so file by file.

| file | content |
|---|---|
| `adapter.safetensors` | what was learned, with the fingerprint of its backbone |
| `model.json` | network, features, classes, task, reader, preparation |
| `backbone.json`, `backbone.*` | which backbone; and by option the backbone itself |
| `calibration.json` | temperature and thresholds, where they were fitted |
| `report.json`, `test_predictions.json` | scores with intervals; logits and labels of the test, without names |
| `data.json` | digest and counts of the training data |
| `config.json` | the configuration that ran |
| `bundle/` | the MONAI bundle: configurations, metadata with this model's classes, documents, licence |
| `README.md` | the model card, made of the facts above |
| `manifest.json` | sha256 of every file, and one digest over all |

Decisions:

- Everything is plain JSON, text or safetensors. Paths of the machine, names of images and patients stay behind.
- Predictions and calibration are those of these very weights, by the digest that they carry. Files left over from other weights, or
  from a version that did not say, never become the model's: they are passed over where the right ones are found, else refused.
- The calibration is the training's, fitted on its validation section: the run's own; only where the run has none of these weights, that
  of the evaluation's folder.
- The digest depends on content only, so that the same model packed twice is the same package.
- Reading compares every file with the manifest; a file changed, missing or added is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file
from torch import Tensor, nn

from monai_fpt._files import file_sha256
from monai_fpt._version import __version__
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics import FPTPredictions
from monai_fpt.metrics.calibration import FPTCalibration
from monai_fpt.metrics.weights import fpt_weights_sha256
from monai_fpt.networks import BackboneMismatchError, FPTConfig
from monai_fpt.networks._weights import create_trunk, fingerprint
from monai_fpt.registry.backbone import FPTBackboneReference
from monai_fpt.registry.predictor import ADAPTER_FILE, BACKBONE_FILE, CALIBRATION_FILE, CARD_FILE, load_adapter
from monai_fpt.registry.privacy import refuse_private_text, told
from monai_fpt.registry.pseudonyms import pseudonymous
from monai_fpt.registry.readme import package_readme
from monai_fpt.report import evaluate_predictions

__all__ = ["FPTPackage", "FPTPackageError", "package_model"]

MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.json"
PREDICTIONS_FILE = "test_predictions.json"
DATA_FILE = "data.json"
_FORMAT = "monai_fpt package"
_VERSION = 1
_SECTIONS = ("training", "validation", "test")
_EVALUATION = "evaluation"  # below the run: where ``monai-fpt evaluate`` writes

_Made = TypeVar("_Made", FPTCalibration, FPTPredictions)


class FPTPackageError(ValueError):
    """A package is not what its manifest says."""


@dataclasses.dataclass(frozen=True)
class FPTPackage:
    """A model on its way to or from a registry.

    Attributes:
        folder: where it lies.
        digest: sha256 (hex) over its content.
        card: facts of the model.
        backbone: which backbone it needs.
        report: its evaluation on the test section as JSON; None where it was not evaluated.
        data: digest and counts of the training data.
    """

    folder: Path
    digest: str
    card: FPTModelCard
    backbone: FPTBackboneReference
    report: Mapping[str, Any] | None
    data: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> FPTPackage:
        """Read a package and compare every file with the manifest.

        Raises:
            FPTPackageError: there is no manifest, or a file is missing, changed or not in it.
        """
        folder = Path(folder)
        try:
            manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
            if manifest["format"] != _FORMAT or manifest["version"] > _VERSION:
                raise ValueError("another format or a newer version")
            listed, digest = dict(manifest["files"]), str(manifest["digest"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise FPTPackageError(
                f'"{folder}" is no package of a model ({error}); register the model again, or give the folder of a package.'
            ) from error
        found = _hashes(folder)
        odd = sorted(name for name in found.keys() | listed.keys() if found.get(name) != listed.get(name))
        if odd or _digest(listed) != digest:
            kind = (
                "the manifest itself" if not odd else f"{odd[0]!r} and {len(odd) - 1} more" if odd[1:] else repr(odd[0])
            )
            raise FPTPackageError(
                f"This model was changed after it was packed: {kind} does not fit the manifest; fetch it again, or register it again."
            )
        report = folder / REPORT_FILE
        return cls(
            folder=folder,
            digest=digest,
            card=FPTModelCard.load(folder / CARD_FILE),
            backbone=FPTBackboneReference.load(folder / BACKBONE_FILE),
            report=json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None,
            data=json.loads((folder / DATA_FILE).read_text(encoding="utf-8")),
        )

    @property
    def readme(self) -> str:
        """The model card."""
        return (self.folder / "README.md").read_text(encoding="utf-8")

    def predictions(self) -> FPTPredictions | None:
        """Logits and labels of the test section, without names; None where the model was not tested."""
        path = self.folder / PREDICTIONS_FILE
        return FPTPredictions.load(path) if path.is_file() else None


def package_model(
    run_dir: str | Path,
    folder: str | Path,
    *,
    bundle_root: str | Path | None = None,
    embed_backbone: bool = False,
    backbone_weights: str | Path | None = None,
    backbone_licence: str | None = None,
    intended_use: str | None = None,
    evaluation: str | Path | None = None,
) -> FPTPackage:
    """Pack the model of a finished training.

    Args:
        run_dir: folder of the training: ``model.pt`` and ``model.json``; ``calibration.json``, ``test_predictions.json``,
            ``data_list.json`` and ``config.json`` are used where they are.
        folder: new folder for the package; it appears whole or not at all.
        bundle_root: the MONAI bundle; by default the one that ships with monai-fpt.
        embed_backbone: also pack the backbone, for sites without network.
        backbone_weights: where the backbone's weights lie, if not where the training had them.
        backbone_licence: of the backbone's weights, where timm does not know it.
        intended_use: a sentence for the model card; by default the bundle's.
        evaluation: folder of an evaluation whose ``test_predictions.json`` is to be the model's; by default those of ``run_dir``, or of
            ``run_dir/evaluation`` where the former are missing or of other weights.

    Raises:
        FileNotFoundError: no model is there, its backbone is not, or ``evaluation`` holds no predictions.
        BackboneMismatchError: the backbone here is not that of the training.
        FileExistsError: ``folder`` exists.
        ValueError: files of the run that do not fit each other, predictions or a calibration that are not known to be of these weights,
            or something private would be told.
    """
    run, target = Path(run_dir), Path(folder)
    if target.exists():
        raise FileExistsError(f'"{target}" exists already; give a new folder for the package, or delete it.')
    card = FPTModelCard.load(run / CARD_FILE).require_features()
    state = load_adapter(run)
    config = _with_local_weights(card.network, backbone_weights)
    weights_sha256, trunk = _checked_trunk(config, state)
    reference = FPTBackboneReference.of(config, weights_sha256, backbone_licence)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if embed_backbone:
            reference = _embedded(reference, config.backbone_weights, trunk, beside)
        _write_model(beside, card, state, reference)
        bundle = _copy_bundle(
            Path(bundle_root) if bundle_root is not None else _shipped_bundle(), beside / "bundle", card
        )
        weights = fpt_weights_sha256(state)
        calibration, evaluated = _write_evaluation(run, evaluation, beside, card, weights)
        data = _write_data(run, beside, card)
        if (run / "config.json").is_file():
            _write_json(beside / "config.json", told(json.loads((run / "config.json").read_text(encoding="utf-8"))))
        use = intended_use or str(bundle.get("intended_use", ""))
        text = package_readme(card, state, reference, calibration, evaluated, data, use)
        (beside / "README.md").write_text(text, encoding="utf-8")
        refuse_private_text(beside, [run.resolve(), Path.home(), Path.cwd()])
        files = _hashes(beside)
        manifest = {"format": _FORMAT, "version": _VERSION, "made_with": f"monai-fpt {__version__}"}
        _write_json(beside / MANIFEST_FILE, manifest | {"digest": _digest(files), "files": files})
        beside.chmod(0o755)
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return FPTPackage.load(target)


def _write_model(
    folder: Path, card: FPTModelCard, state: Mapping[str, Tensor], reference: FPTBackboneReference
) -> None:
    weights = (
        Path(reference.file).name or "unknown"
        if reference.source in ("file", "package")
        else card.network.backbone_weights
    )
    dataclasses.replace(card, network=dataclasses.replace(card.network, backbone_weights=weights)).save(
        folder / CARD_FILE
    )
    save_file({name: value.contiguous() for name, value in state.items()}, folder / ADAPTER_FILE)
    _write_json(folder / BACKBONE_FILE, reference.to_dict())


def _with_local_weights(config: FPTConfig, told: str | Path | None) -> FPTConfig:
    """The network's configuration with the backbone's weights where they lie now."""
    if told is None:
        return config
    path = Path(told).expanduser()
    if path.is_dir() and config.backbone_weights not in (None, "timm"):
        path = path / Path(str(config.backbone_weights)).name
    return dataclasses.replace(config, backbone_weights="timm" if str(told) == "timm" else str(path))


def _checked_trunk(config: FPTConfig, state: Mapping[str, Tensor]) -> tuple[str, nn.Module]:
    """The backbone's fingerprint as the adapter names it, and the backbone, which must have it."""
    wanted = bytes(state["backbone_id"].tolist())[:32].hex()
    trunk = create_trunk(config.backbone, config.backbone_weights, config.backbone_kwargs)
    found = fingerprint(trunk)
    if found != wanted:
        raise BackboneMismatchError(
            f'The weights of backbone "{config.backbone}" here ({found[:12]}) are not those that this model was trained on ({wanted[:12]}); '
            "give the right ones as backbone_weights."
        )
    return wanted, trunk


def _embedded(
    reference: FPTBackboneReference, weights: str | None, trunk: nn.Module, folder: Path
) -> FPTBackboneReference:
    """Pack the user's own file as it is, or what timm fetched as one file of tensors."""
    if reference.source in ("file", "package"):
        source = Path(str(weights)).expanduser()
        file = f"backbone{source.suffix}"
        shutil.copyfile(source, folder / file)
    else:
        file = "backbone.safetensors"
        save_file({name: value.contiguous() for name, value in trunk.state_dict().items()}, folder / file)
    return dataclasses.replace(reference, embedded=file)


def _write_evaluation(
    run: Path, named: str | Path | None, folder: Path, card: FPTModelCard, weights: str
) -> tuple[FPTCalibration | None, Mapping[str, Any] | None]:
    later = run / _EVALUATION if named is None else Path(named)
    if named is not None and not (later / PREDICTIONS_FILE).is_file():
        raise FileNotFoundError(
            f'"{later}" holds no {PREDICTIONS_FILE}; evaluate the model into this folder, or name another as evaluation.'
        )
    calibration = _of_these_weights([run, later], CALIBRATION_FILE, FPTCalibration.load, weights)
    if calibration is not None:
        calibration.save(folder / CALIBRATION_FILE)
    places = [run, later] if named is None else [later]
    predictions = _of_these_weights(places, PREDICTIONS_FILE, FPTPredictions.load, weights)
    if predictions is None:
        return calibration, None
    if (predictions.classes, predictions.task) != (card.classes, card.task):
        raise ValueError(
            f"{PREDICTIONS_FILE} is for {list(predictions.classes)} ({predictions.task}), the model has {list(card.classes)} "
            f"({card.task}); evaluate this model again."
        )
    listed, own = run / "data_list.json", run / PREDICTIONS_FILE
    if (
        named is None
        and listed.is_file()
        and not (own.is_file() and FPTPredictions.load(own).weights_sha256 == weights)
    ):
        tested = {str(item["key"]) for item in json.loads(listed.read_text(encoding="utf-8")).get("test", [])}
        if not set(predictions.keys) <= tested:
            raise ValueError(
                f'The predictions in "{run}" are not of its test section ({len(set(predictions.keys) - tested)} images are not in it); name their '
                "folder as evaluation if they are to speak for the model, or evaluate the test section."
            )
    pseudonymous(predictions).save(folder / PREDICTIONS_FILE)
    aggregate = None if calibration is None else calibration.aggregate
    evaluation = evaluate_predictions(predictions, calibration=calibration, aggregate=aggregate).to_dict()
    _write_json(folder / REPORT_FILE, evaluation)
    return calibration, evaluation


def _of_these_weights(places: Sequence[Path], name: str, load: Callable[[Path], _Made], weights: str) -> _Made | None:
    """The first file of this name that is of the model's weights; None where no place has any."""
    refused = ""
    for path in (place / name for place in places if (place / name).is_file()):
        made = load(path)
        if made.weights_sha256 == weights:
            return made
        whose = "is of other weights than this model" if made.weights_sha256 else "does not say of which weights it is"
        refused = (
            refused or f'"{path}" {whose}; evaluate this model again (test and validation section), or remove the file.'
        )
    if refused:
        raise ValueError(refused)
    return None


def _write_data(run: Path, folder: Path, card: FPTModelCard) -> dict[str, Any]:
    """Digest and counts; no key and no patient."""
    data: dict[str, Any] = {"digest": card.data_digest}
    path = run / "data_list.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if card.data_digest and content["digest"] != card.data_digest:
            raise ValueError(f'"{path}" is not the list that this model was trained on; restore it, or remove it.')
        for section in _SECTIONS:
            rows = content[section]
            data[section] = {
                "images": len(rows),
                "groups": len({row["group"] for row in rows if "group" in row}) or None,
                "classes": {name: sum(_has(row, k) for row in rows) for k, name in enumerate(content["classes"])},
            }
    _write_json(folder / DATA_FILE, data)
    return data


def _has(row: Mapping[str, Any], number: int) -> bool:
    label = row.get("label")
    return bool(label[number]) if isinstance(label, list) else label == number


def _copy_bundle(source: Path, target: Path, card: FPTModelCard) -> dict[str, Any]:
    """The bundle's files; its metadata says the classes and the image size of this model."""
    metadata_file = source / "configs" / "metadata.json"
    if not metadata_file.is_file():
        raise FileNotFoundError(
            f'"{source}" is no MONAI bundle (no configs/metadata.json); give the folder of one as bundle_root.'
        )
    ignored = shutil.ignore_patterns("models", "__pycache__", "*.pt", ".*")
    shutil.copytree(source, target, ignore=ignored)
    metadata: dict[str, Any] = json.loads(metadata_file.read_text(encoding="utf-8"))
    data_format = metadata.get("network_data_format", {})
    size = card.network.image_size
    for image in data_format.get("inputs", {}).values():
        image["spatial_shape"] = [size, size]
    for prediction in data_format.get("outputs", {}).values():
        prediction["num_channels"] = len(card.classes)
        prediction["channel_def"] = {str(k): name for k, name in enumerate(card.classes)}
    _write_json(target / "configs" / "metadata.json", metadata)
    return metadata


def _shipped_bundle() -> Path:
    import monai_fpt

    package = Path(monai_fpt.__file__).parent
    folders = [parent / "bundles" / "fpt_classification" for parent in (package, package.parent)]
    return next((folder for folder in folders if (folder / "configs").is_dir()), folders[0])


def _hashes(folder: Path) -> dict[str, str]:
    """File to sha256, for everything but the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_sha256(path) for name, path in names.items() if name != MANIFEST_FILE}


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
