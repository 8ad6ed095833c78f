"""FPTTrainTask: the trainer that MONAI Label shows, over :class:`~monai_fpt.monailabel.training.FPTRetrainer`.

``POST /train/fpt?run_sync=true`` trains in the server, in a thread, in seconds; without ``run_sync`` MONAI Label starts a
process of its own, which takes longer to start than to train. Both publish the same way, and the server's model follows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from monai_fpt.metrics import FPT_SCORES
from monai_fpt.monailabel.labels import labelled_data_list
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.training import FPTRetrainer
from monai_fpt.monailabel.training_options import FPTRetrainOptions

__all__ = ["FPTTrainTask"]

logger = logging.getLogger(__name__)


class FPTTrainTask(TrainTask):  # type: ignore[misc]
    """Trains on the final labels.

    Args:
        model: the present model and the features it reads.
        defaults: of the options that a request leaves out.
        retrainer: by default one that tracks in MLflow, see :class:`~monai_fpt.monailabel.training.FPTRetrainer`.
    """

    def __init__(
        self, model: PresentModel, defaults: FPTRetrainOptions | None = None, retrainer: FPTRetrainer | None = None
    ) -> None:
        super().__init__("Trains fusion and side network on the final labels, on cached features")
        self.model = model
        self.defaults = defaults or FPTRetrainOptions()
        self.retrainer = retrainer or FPTRetrainer(model)

    def config(self) -> dict[str, Any]:
        """What a client may set, with its default; of lists the first is it."""
        metrics = [self.defaults.metric, *(name for name in FPT_SCORES if name != self.defaults.metric)]
        return self.defaults.to_request() | {"metric": metrics}

    def stats(self) -> dict[str, Any]:
        """How far the training is, or how the last one ended."""
        return self.retrainer.stats.read()

    def cancel(self) -> None:
        """Stop a training in this process; one in a process of its own ends with it."""
        self.retrainer.cancel()

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train.

        Args:
            request: options by the names of :meth:`config`; others, as MONAI Label adds them, are not read.
            datastore: the app's.

        Returns:
            An :class:`~monai_fpt.monailabel.training_options.FPTRetraining` as JSON, and the trainer's ``stats``.

        Raises:
            ValueError: an option that cannot be.
        """
        options = self.defaults.with_request(request)
        with self.retrainer.stoppable() as stop:
            learned_from = self.retrainer.recorded().keys
            labels = labelled_data_list(datastore, self.model.card, besides=learned_from)
            items = [_with_origin(item, labels.infos[item["key"]]) for item in labels.data_list.training]
            outcome = self.retrainer.retrain(
                items,
                options,
                labels.refused,
                _say_epoch,
                warnings=labels.warnings,
                patients=labels.patients,
                stop=stop,
            )
        for image_id, reason in outcome.refused.items():
            logger.warning("Not trained on: %s (%s)", image_id, reason)
        logger.info(outcome.message)
        return outcome.to_dict() | {"stats": self.stats()}


def _with_origin(item: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """An item with who gave the label and when, where what came with the label says it."""
    who = next((info[name] for name in ("annotator", "client_id", "user") if info.get(name)), None)
    when = next((info[name] for name in ("saved", "ts") if info.get(name)), None)
    known = {"annotator": who, "saved": when}
    return {**item, **{name: value for name, value in known.items() if value is not None}}


def _say_epoch(epoch: int, loss: float) -> None:
    logger.info("Epoch %d: loss %.4f", epoch, loss)
