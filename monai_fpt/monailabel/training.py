"""Retraining: from the labels that readers saved to a better model, or to one sentence why there is none.

    labels ─► split by patient ─► fit on cached features ─► both models on the same validation images ─► publish, or keep

Decisions:

- **Only a model that is shown to be better is published**: present and new one answer the same validation images, and the chosen
  score decides (``training_compare``). Neither has learned from these images (``training_split``).
- What readers can mend (labels that are too few, a class without any) is an outcome with a sentence and not an exception: a
  server that answers 500 tells a reader nothing.
- One training at a time in a model folder, whatever process it runs in, by a lock that the system releases after a kill.
- A training can be stopped from the moment it was asked for, also while its labels are still being read; and who stops it is
  told when it has ended.
- The present network is copied without its backbone, which nobody trains; so a retraining costs no loading.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from filelock import FileLock, Timeout

from monai_fpt.handlers import fpt_tracking_uri
from monai_fpt.monailabel.model import ModelVersion, PresentModel
from monai_fpt.monailabel.training_before import learned_before
from monai_fpt.monailabel.training_compare import FPTJudgement, judged, score_of
from monai_fpt.monailabel.training_fit import (
    LabelledFeatures,
    TrainingCancelled,
    fit_adapter,
    predict_labelled,
    reset_adapter,
)
from monai_fpt.monailabel.training_history import LabelHistory
from monai_fpt.monailabel.training_options import FPTRetraining, FPTRetrainOptions
from monai_fpt.monailabel.training_publish import publish_model, published_by
from monai_fpt.monailabel.training_split import LabelSplit, RecordedSections, class_counts, split_labels, split_problem
from monai_fpt.monailabel.training_stats import TrainingStats
from monai_fpt.monailabel.training_tracking import track_retraining
from monai_fpt.monailabel.training_words import outcome_sentence
from monai_fpt.networks import FPTClassifier

__all__ = ["FPTRetrainer"]

_FROM_PRESENT, _ANEW = "present model", "anew"


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A fitted network and what the validation images said."""

    network: FPTClassifier
    start: str
    loss: float
    challenger: float | None
    judgement: FPTJudgement | None  # None where there was no model to compare with

    @property
    def better(self) -> bool:
        return self.judgement is None or self.judgement.better

    @property
    def present(self) -> float | None:
        return None if self.judgement is None else _number(self.judgement.present)

    @property
    def share(self) -> float | None:
        return None if self.judgement is None else _number(self.judgement.share)


class FPTRetrainer:
    """Retrains the model of an app. Threads may share one object; a second training is refused while one is under way.

    Args:
        model: the present model and the features it reads.
        track: whether to tell MLflow.
        tracking_uri: the store; by default ``MLFLOW_TRACKING_URI``, else a SQLite file in the app's model folder.
        experiment: name of the MLflow experiment.
    """

    def __init__(
        self,
        model: PresentModel,
        track: bool = True,
        tracking_uri: str | None = None,
        experiment: str = "monai_fpt_label",
    ) -> None:
        self.model = model
        self.track = track
        self.tracking_uri = tracking_uri or fpt_tracking_uri(model.model_dir)
        self.experiment = experiment
        self.history = LabelHistory(model.model_dir)
        self.stats = TrainingStats(model.model_dir)
        self._asked: dict[threading.Event, threading.Event] = {}  # what stops a training, and what tells that it ended
        self._gate = threading.Lock()
        self._lock_file = model.model_dir / ".training.lock"

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[threading.Event]:
        """A training that :meth:`cancel` can stop from here on; the event is for :meth:`retrain`."""
        stop, ended = threading.Event(), threading.Event()
        with self._gate:
            self._asked[stop] = ended
        try:
            yield stop
        finally:
            with self._gate:
                del self._asked[stop]
            ended.set()

    def cancel(self, wait: float = 0.0) -> bool:
        """Ask all trainings in this process to stop; they do so before their next step, and publish nothing.

        Args:
            wait: seconds to wait for their end.

        Returns:
            Whether there was one.
        """
        with self._gate:
            asked = dict(self._asked)
        for stop in asked:
            stop.set()
        until = time.monotonic() + wait
        for ended in asked.values():
            ended.wait(max(0.0, until - time.monotonic()))
        return bool(asked)

    def close_killed(self, wait: float = 0.0) -> None:
        """Wait for a training in another process that was killed, and write that it ended.

        Args:
            wait: seconds, after which one that goes on is left alone.
        """
        with contextlib.suppress(Timeout), FileLock(self._lock_file, timeout=wait, thread_local=False):
            self._close_killed()

    def _close_killed(self) -> None:
        """Of trainings that were killed; the caller has the lock, so none is under way."""
        for training in self.history.unfinished():
            published = published_by(self.model.model_dir, training)
            message = "The training was stopped; " + (
                f"its model is version {published} all the same." if published else "the present model stays."
            )
            self.history.ended(training, {"published": bool(published), "message": message})
            if self.stats.read().get("training") == training:
                self.stats.stopped(message, bool(published))

    def recorded(self) -> RecordedSections:
        """What the present model and those before it have learned from, and what judged them."""
        return self.history.recorded().joined(learned_before(self.model.model_dir))

    def retrain(
        self,
        items: Sequence[Mapping[str, Any]],
        options: FPTRetrainOptions | None = None,
        refused: Mapping[str, str] | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
        *,
        warnings: Sequence[str] = (),
        patients: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
    ) -> FPTRetraining:
        """Train on these labels.

        Args:
            items: labelled images as a data list has them: ``"key"`` (id), ``"image"`` (path), ``"label"``, and where known
                ``"group"``, ``"sha256"``, ``"annotator"``, ``"saved"``.
            options: how.
            refused: id and reason of labels that were left out before; they are told with the outcome.
            on_epoch: called with the number of each epoch, from 1, and its mean loss.
            warnings: what the reader has to know of the labels; told with the outcome.
            patients: patients of images that an earlier training had, by id, as they are known today; they count although such
                an image may have no label any more, see :mod:`~monai_fpt.monailabel.training_split`.
            stop: of :meth:`stoppable`.

        Returns:
            What came of it. Labels that are too few, a training under way and a cancelled one are outcomes.

        Raises:
            OSError: the model folder cannot be written.
            CorruptCacheError: the cached features are damaged.
        """
        if stop is None:
            with self.stoppable() as own:
                return self.retrain(items, options, refused, on_epoch, warnings=warnings, patients=patients, stop=own)
        chosen = options or FPTRetrainOptions()
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.model.model_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_file, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return self._kept(
                name, "A training of this model is under way; wait for its end, or stop it.", refused or {}
            )
        try:
            self._close_killed()
            self.stats.began(name, chosen.fit.max_epochs)
            outcome = self._locked(name, list(items), chosen, dict(refused or {}), on_epoch, patients or {}, stop)
            outcome = dataclasses.replace(outcome, warnings=tuple(warnings))
            self.stats.ended(outcome)
            return outcome
        except BaseException as error:
            self.stats.failed(f"The training failed: {error or type(error).__name__}")
            raise
        finally:
            lock.release()

    def _locked(
        self,
        name: str,
        items: list[Mapping[str, Any]],
        options: FPTRetrainOptions,
        refused: dict[str, str],
        on_epoch: Callable[[int, float], None] | None,
        patients: Mapping[str, str],
        stop: threading.Event,
    ) -> FPTRetraining:
        now = self.model.present()
        card = now.predictor.card
        usable, extracted = self._with_features(items, refused, stop)
        if stop.is_set():
            return self._kept(name, "The training was cancelled; the present model stays.", refused)
        split = split_labels(usable, options.val_fraction, self.recorded(), patients)
        digest = self.history.began(name, usable, split.sections(), card.classes)
        facts: dict[str, Any] = {
            "training_images": len(split.training),
            "validation_images": len(split.validation),
            "not_judging": len(split.learned) + len(split.moved),
            "labels": dict(zip(card.classes, class_counts(usable, len(card.classes)), strict=True)),
            "metric": options.metric,
            "extracted": extracted,
            "refused": refused,
        }
        losses: list[float] = []

        def epoch_done(epoch: int, loss: float) -> None:
            losses.append(loss)
            self.stats.epoch(epoch, loss)
            if on_epoch is not None:
                on_epoch(epoch, loss)

        began = time.monotonic()
        error: BaseException | None = None
        try:
            outcome = self._train(name, split, options, now, digest, facts, epoch_done, began, stop)
        except TrainingCancelled as cancelled:
            error = KeyboardInterrupt()
            outcome = FPTRetraining(name, False, now.number, str(cancelled), seconds=time.monotonic() - began, **facts)
        except BaseException as failure:
            self.history.ended(name, {"published": False, "message": f"failed: {type(failure).__name__}"})
            self._track(name, options, facts, losses, digest, None, failure)
            raise
        self.history.ended(name, {k: v for k, v in outcome.to_dict().items() if k != "training"})
        if losses:
            self._track(name, options, facts, losses, digest, outcome, error)
        return outcome

    def _train(
        self,
        name: str,
        split: LabelSplit,
        options: FPTRetrainOptions,
        now: ModelVersion,
        digest: str,
        facts: Mapping[str, Any],
        epoch_done: Callable[[int, float], None],
        began: float,
        stop: threading.Event,
    ) -> FPTRetraining:
        card, version = now.predictor.card, now.number
        problem = split_problem(split, card.classes, options.min_labels, card.task, judged=now.trained)
        if problem:
            return FPTRetraining(name, False, version, problem, **facts)
        result = self._fitted(split, options, now, epoch_done, stop)
        published = result.better
        if published:
            card = dataclasses.replace(card, features=self.model.features.spec, data_digest=digest)
            told = {k: v for k, v in facts.items() if k != "refused"}
            self.history.publishes(name)
            version = publish_model(
                self.model.model_dir,
                result.network,
                card,
                {
                    "training": name,
                    "start": result.start,
                    "present": result.present,
                    "challenger": result.challenger,
                    "better_in": result.share,
                    **told,
                },
            )
            self.model.follow()  # here and not in the first reader's question, who would wait for it
        return FPTRetraining(
            name,
            published,
            version,
            outcome_sentence(version, options.metric, split, result.challenger, result.judgement),
            start=result.start,
            present=result.present,
            challenger=result.challenger,
            better_in=result.share,
            loss=result.loss,
            seconds=time.monotonic() - began,
            **facts,
        )

    def _fitted(
        self,
        split: LabelSplit,
        options: FPTRetrainOptions,
        now: ModelVersion,
        epoch_done: Callable[[int, float], None],
        stop: threading.Event,
    ) -> _Trained:
        present = now.predictor.network
        network = copy.deepcopy(present, {id(present.backbone): present.backbone}).cpu()
        store = self.model.features.store
        training = LabelledFeatures.read(split.training, store)
        validation = LabelledFeatures.read(split.validation, store)
        before = predict_labelled(network, validation) if now.trained else None
        start = _FROM_PRESENT if now.trained and options.pretrained else _ANEW
        if start == _ANEW:
            reset_adapter(network, options.fit.seed)
        losses: list[float] = []

        def each(epoch: int, loss: float) -> None:
            losses.append(loss)
            epoch_done(epoch, loss)

        self.stats.total(options.fit.epochs(len(training)))
        fit_adapter(network, training, options.fit, each, stop.is_set)
        after = predict_labelled(network, validation)
        if stop.is_set():
            raise TrainingCancelled("The training was cancelled; the present model stays.")
        if not math.isfinite(losses[-1]) or not bool(torch.isfinite(after).all()):
            raise ValueError(
                f"The training diverged (loss {losses[-1]:.3g}) and nothing is published; choose a smaller learning_rate."
            )
        if before is None:
            score = score_of(after, validation.labels, options.metric) if len(validation) else math.nan
            return _Trained(network, start, losses[-1], _number(score), None)
        groups = [split.units[key] for key in validation.keys]
        judgement = judged(before, after, validation.labels, groups, options.metric)
        return _Trained(network, start, losses[-1], _number(judgement.challenger), judgement)

    def _with_features(
        self, items: Sequence[Mapping[str, Any]], refused: dict[str, str], stop: threading.Event
    ) -> tuple[list[Mapping[str, Any]], int]:
        """Items whose features are cached by now; what cannot be read goes to ``refused``."""
        store = self.model.features.store
        missing = [(str(item["key"]), item["image"]) for item in items if store.find(item) is None]
        failed = self.model.features.ensure_all(missing, stop) if missing else {}
        refused.update(failed)
        return [item for item in items if str(item["key"]) not in failed], len(missing) - len(failed)

    def _kept(self, name: str, message: str, refused: Mapping[str, str]) -> FPTRetraining:
        return FPTRetraining(name, False, self.model.version, message, refused=refused)

    def _track(self, *told: Any) -> None:
        if self.track:
            track_retraining(self.model.model_dir, *told, tracking_uri=self.tracking_uri, experiment=self.experiment)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
