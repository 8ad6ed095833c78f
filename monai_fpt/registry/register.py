"""From a finished training to a version in the MLflow model registry.

Decisions:

- Everything is packed, loaded again and asked once with a drawn image before the registry hears of it: a model that
  cannot be loaded here is not registered.
- What fails on the way leaves no version, moves no alias, and removes what it had made.
- The same content is registered once: a version with this digest is given back instead of a second one. Two that register it at the
  same time both look again after writing; the later version is taken back, so that both give the earlier.
- Scores go to the training's run last, when the version stands. A store that fails then costs a warning and not the version.
- Explicit ids only (``MlflowClient``); no ``set_experiment`` and no active run, so nothing else in the process is touched.
- The version points to a logged model of MLflow, linked to the training's run where that is in the same store.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt._version import __version__
from monai_fpt.features import FPTModelCard
from monai_fpt.handlers import fpt_tracking_uri
from monai_fpt.handlers._addresses import HIDDEN
from monai_fpt.handlers._run_file import expanded_uri, stored_uri, tracked_run
from monai_fpt.handlers._store import checked_uri, open_experiment
from monai_fpt.registry.backbone import BACKBONE_VARIABLE
from monai_fpt.registry.mlflow_folder import example_image, save_mlflow_model
from monai_fpt.registry.package import FPTPackage, package_model
from monai_fpt.registry.predictor import CARD_FILE
from monai_fpt.registry.readme import score_text
from monai_fpt.registry.store import DIGEST_TAG, calm_mlflow, environment_variables

__all__ = ["FPTRegistered", "register_model", "require_answer"]

_TAG_LIMIT = 4000
_DESCRIPTION_LIMIT = 5000
_NAME = re.compile(r"[\w.-]([\w. -]*[\w.-])?")
_TAGGED_SCORES = ("auc", "accuracy")
_LOGGED_SCORES = ("auc", "accuracy", "balanced_accuracy", "average_precision", "f1", "kappa", "brier", "ece")


@dataclasses.dataclass(frozen=True)
class FPTRegistered:
    """A version in the registry.

    Attributes:
        name: of the registered model.
        version: its number, as MLflow writes it.
        digest: of the content.
        model_id: of the logged model that the version points to; empty where MLflow does not tell.
        created: false where this content was registered before.
        tracking_uri: the store.
    """

    name: str
    version: str
    digest: str
    model_id: str
    created: bool
    tracking_uri: str

    @property
    def uri(self) -> str:
        """``models:/name/version``."""
        return f"models:/{self.name}/{self.version}"


def register_model(
    run_dir: str | Path,
    name: str,
    *,
    tracking_uri: str | None = None,
    alias: str | None = "challenger",
    tags: Mapping[str, str] | None = None,
    experiment: str = "monai_fpt",
    bundle_root: str | Path | None = None,
    embed_backbone: bool = False,
    backbone_weights: str | Path | None = None,
    backbone_licence: str | None = None,
    intended_use: str | None = None,
    evaluation: str | Path | None = None,
) -> FPTRegistered:
    """Take a trained run to the registry.

    Args:
        run_dir: folder of the training.
        name: of the registered model; made when missing.
        tracking_uri: the store; by default ``MLFLOW_TRACKING_URI``, else where the training was tracked, else the run's own.
        alias: is set on the version; None sets none. Only promotion sets ``champion``.
        tags: further tags of the version.
        experiment: that the model is logged to where the training's run is not in this store.
        bundle_root: see :func:`~monai_fpt.registry.package_model` for this and all others.
        embed_backbone: also store the backbone.
        backbone_weights: where they lie here.
        backbone_licence: of those weights.
        intended_use: a sentence for the model card.
        evaluation: folder of an evaluation made later, to be the model's.

    Returns:
        the version; ``created`` says whether it is new.

    Raises:
        ValueError: the alias ``champion``, files of the run that do not fit, or the model does not answer.
        FileNotFoundError: no model, or its backbone is not here.
        Exception: whatever MLflow raises; then there is no new version.
    """
    if alias == "champion":
        raise ValueError('A model becomes "champion" by promotion only; register it as "challenger" and promote it.')
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a model; use letters, digits, spaces and _ - . only.")
    uri = checked_uri(tracking_uri or _store_of(run_dir))
    with tempfile.TemporaryDirectory(prefix="monai_fpt_") as temporary, calm_mlflow():
        package = package_model(
            run_dir,
            Path(temporary) / "fpt",
            bundle_root=bundle_root,
            embed_backbone=embed_backbone,
            backbone_weights=backbone_weights,
            backbone_licence=backbone_licence,
            intended_use=intended_use,
            evaluation=evaluation,
        )
        client, experiment_id = open_experiment(uri, experiment)
        run_id, experiment_id = _training_run(client, uri, Path(run_dir), experiment_id)
        found = _version_of(client, name, package.digest)
        if found is None:
            here = backbone_weights or FPTModelCard.load(Path(run_dir) / CARD_FILE).network.backbone_weights
            registration = _Registration(client, name, package, Path(temporary) / "model", here)
            found = registration.run(experiment_id, run_id, dict(tags or {}))
        version, created = found
        if alias is not None and (created or "champion" not in _aliases(client, name, version)):
            client.set_registered_model_alias(name, alias, version.version)
        return FPTRegistered(name, str(version.version), package.digest, _model_id(version), created, uri)


class _Registration:
    """One attempt, which removes what it made if it fails."""

    def __init__(
        self, client: Any, name: str, package: FPTPackage, folder: Path, backbone_weights: str | Path | None
    ) -> None:
        self.client, self.name, self.package, self.folder = client, name, package, folder
        self.backbone_weights = backbone_weights
        self.undo = contextlib.ExitStack()

    def run(self, experiment_id: str, run_id: str | None, tags: dict[str, str]) -> tuple[Any, bool]:
        """The version, and whether it is new: another process may have registered the same content meanwhile."""
        with self.undo:
            model = self.client.create_logged_model(
                experiment_id,
                name=self.name.replace(".", "_"),  # which a logged model may not have
                source_run_id=run_id,
                model_type="classifier",
                params=_model_params(self.package),
            )
            self.undo.callback(self._forget_logged_model, model.model_id)
            self._save(model.model_id, run_id)
            self.client.log_model_artifacts(model.model_id, str(self.folder))
            self.client.finalize_logged_model(model.model_id, "READY")
            self._make_name()
            version = self._make_version(model, run_id, tags)
            first = _version_of(self.client, self.name, self.package.digest)
            if first is not None and int(first[0].version) < int(version.version):
                return first  # and what was made here is undone
            self.undo.pop_all()
        if run_id is not None and self.package.report is not None:
            self._log_scores(run_id, model.model_id)
        return version, True

    def _save(self, model_id: str, run_id: str | None) -> None:
        from mlflow.models import Model

        save_mlflow_model(self.package, self.folder, Model(artifact_path=None, run_id=run_id, model_id=model_id))
        require_answer(self.folder, self.backbone_weights)

    def _log_scores(self, run_id: str, model_id: str) -> None:
        assert self.package.report is not None
        try:
            for key, score in self.package.report["scores"].items():
                if key in _LOGGED_SCORES and score.get("value") is not None:
                    self.client.log_metric(run_id, f"test_{key}", score["value"], model_id=model_id)
        except Exception as error:
            warnings.warn(
                f"The model is registered, but its scores could not be written to the training's run ({type(error).__name__}: {error}); "
                "they are in the version's report.json.",
                stacklevel=2,
            )

    def _make_name(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name, description=_NAME_TEXT, tags={"made_by": "monai-fpt"})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        else:
            self.undo.callback(self._forget_name)

    def _make_version(self, model: Any, run_id: str | None, tags: dict[str, str]) -> Any:
        """A server resolves a logged model by id; a database asks the process's global store for it, hence its place there."""
        served = str(self.client.tracking_uri).startswith(("http://", "https://"))
        version = self.client.create_model_version(
            self.name,
            source=f"models:/{model.model_id}" if served else model.artifact_location,
            run_id=run_id,
            tags=_version_tags(self.package) | tags,
            description=_description(self.package.readme),
            model_id=model.model_id if served else None,
        )
        self.undo.callback(self._forget_version, version.version)
        if version.status != "READY":
            raise RuntimeError(
                f'The registry did not make a version of "{self.name}" ({version.status}: {version.status_message}); look at its log, then register again.'
            )
        if not served:
            versions = [{"name": self.name, "version": version.version}]
            self.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": json.dumps(versions)})
        return version

    def _forget_version(self, version: str) -> None:
        with contextlib.suppress(Exception):
            self.client.delete_model_version(self.name, version)

    def _forget_logged_model(self, model_id: str) -> None:
        with contextlib.suppress(Exception):
            self.client.delete_logged_model(model_id)

    def _forget_name(self) -> None:
        with contextlib.suppress(Exception):
            if not self.client.search_model_versions(f"name='{self.name}'"):
                self.client.delete_registered_model(self.name)


_NAME_TEXT = "Classifiers of medical images, made by monai-fpt. Each version's description is its model card."


def require_answer(folder: Path, backbone_weights: str | Path | None) -> None:
    """Load an MLflow model as a server would and ask it with a drawn image.

    Raises:
        ValueError: it gives no answer.
        BackboneMismatchError: the backbone here is not that of the training.
    """
    import mlflow.pyfunc
    import pandas as pd

    named = backbone_weights is not None and Path(backbone_weights).expanduser().exists()
    with environment_variables({BACKBONE_VARIABLE: str(backbone_weights)} if named else {}):
        model = mlflow.pyfunc.load_model(str(folder))
    answer = model.predict(pd.DataFrame({"image": [example_image()]}))[0]
    if answer["status"] != "ok":
        raise ValueError(f"The packed model does not answer ({answer['error']}); it is not registered.")


def _version_of(client: Any, name: str, digest: str) -> tuple[Any, bool] | None:
    """The earliest version with this content, and that it is not new."""
    versions = client.search_model_versions(f"name='{name}'")
    same = [one for one in versions if one.tags.get(DIGEST_TAG) == digest and one.status == "READY"]
    return (min(same, key=lambda one: int(one.version)), False) if same else None


def _aliases(client: Any, name: str, version: Any) -> list[str]:
    return list(client.get_model_version(name, version.version).aliases)


def _model_id(version: Any) -> str:
    """MLflow does not always fill ``model_id``; the source names it."""
    named = re.search(r"\bm-[0-9a-f]{32}\b", str(version.source))
    return str(version.model_id or "") or (named[0] if named else "")


def _training_run(client: Any, uri: str, run_dir: Path, experiment_id: str) -> tuple[str | None, str]:
    """Id and experiment of the training's run, where it is in this store."""
    from mlflow.exceptions import MlflowException

    tracked = tracked_run(run_dir)
    if (
        tracked is None
        or tracked.run_id is None
        or tracked.tracking_uri != expanded_uri(stored_uri(uri, run_dir), run_dir)
    ):
        return None, experiment_id
    try:
        run = client.get_run(tracked.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None, experiment_id
    if run.info.lifecycle_stage != "active":
        return None, experiment_id
    return str(run.info.run_id), str(run.info.experiment_id)


def _model_params(package: FPTPackage) -> dict[str, str]:
    network = package.card.network
    fields = ("method", "image_size", "token_ratio", "num_prompts", "side_reduction", "members", "linear_members")
    return {"backbone": package.backbone.name, **{name: str(getattr(network, name)) for name in fields}}


def _description(readme: str) -> str:
    """The model card, cut where a database's column ends."""
    if len(readme) <= _DESCRIPTION_LIMIT:
        return readme
    whole = "\n\n(cut; the whole card is artifacts/fpt/README.md of this model)\n"
    return readme[: _DESCRIPTION_LIMIT - len(whole)].rpartition("\n")[0] + whole


def _version_tags(package: FPTPackage) -> dict[str, str]:
    """Few, for MLflow's list of versions shows them all; the model card says the rest."""
    card, backbone = package.card, package.backbone
    scores = {} if package.report is None else package.report["scores"]
    tags = {f"test.{key}": score_text(scores[key]) for key in _TAGGED_SCORES if key in scores}
    tags |= {
        "fpt.classes": ", ".join(card.classes),
        "fpt.backbone": backbone.name,
        "fpt.backbone_stored": "yes" if backbone.embedded else "no",
        "fpt.data_digest": card.data_digest or "unknown",
        "fpt.version": __version__,
        DIGEST_TAG: package.digest,
    }
    return {key: value[:_TAG_LIMIT] for key, value in tags.items()}


def _store_of(run_dir: str | Path) -> str:
    """``MLFLOW_TRACKING_URI``, else the store that the training was tracked in, else the run's own.

    Raises:
        ValueError: the store's address is recorded without its password.
    """
    tracked = tracked_run(run_dir)
    if os.environ.get("MLFLOW_TRACKING_URI") or tracked is None:
        return fpt_tracking_uri(run_dir)
    if HIDDEN in tracked.tracking_uri:
        raise ValueError(
            f"This training was tracked at {tracked.tracking_uri}, whose password is not recorded; give tracking_uri or set "
            "MLFLOW_TRACKING_URI."
        )
    return tracked.tracking_uri
