"""FPTApp: the MONAI Label app. Predict, see where the network looked, correct, retrain.

An app's folder, made by ``monailabel apps --download --name fpt``, is:

    main.py            one line that imports this class
    model/             the model, see monai_fpt.monailabel.training_publish; made from --conf model at the first start
    cache/             features of the images, see monai_fpt.monailabel.features
    logs/              of the server

Options (``--conf name value``): ``model``, the folder of a run or a package to begin with; or ``classes`` (names with commas
between) and ``backbone_weights`` (a file) to begin without a trained model; ``backbone_weights`` also says where a model's
backbone lies on this machine; ``device``; ``warm_up false`` leaves out the reading ahead; ``track false`` and
``tracking_uri`` are about MLflow.

Decisions:

- What a request names is an id of the studies folder, or a file that the server itself has just received. A path is never
  believed.
- Whatever is wrong with a request is answered as JSON with a status and a sentence; see
  :mod:`~monai_fpt.monailabel.server` for what the server itself would answer with less.
- Images are read ahead in one thread, so that the cache is full while readers read. It has the priority of all others: one that the
  system lets wait while it holds the interpreter's lock would let every reader wait with it.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore

from monai_fpt._version import __version__
from monai_fpt.features import FPTModelCard
from monai_fpt.monailabel.batch import FPTBatchInfer
from monai_fpt.monailabel.booleans import is_true
from monai_fpt.monailabel.contents import file_state
from monai_fpt.monailabel.datastore import ORIGINAL, SALIENCY, FPTDatastore
from monai_fpt.monailabel.errors import RequestError, said_to_the_client
from monai_fpt.monailabel.infer import FPTInferTask, FPTSaliencyTask
from monai_fpt.monailabel.labels import read_label
from monai_fpt.monailabel.model import PresentModel
from monai_fpt.monailabel.problems import study_problems
from monai_fpt.monailabel.scoring import FPTUncertaintyScoring, active_strategies
from monai_fpt.monailabel.scoring_run import ImageScorer
from monai_fpt.monailabel.server import mend_server, uploads_folder
from monai_fpt.monailabel.starting import kept_augmentation, settled_model, unknown_options
from monai_fpt.monailabel.training import FPTRetrainer
from monai_fpt.monailabel.training_fit import FPTFitOptions
from monai_fpt.monailabel.training_options import FPTRetrainOptions
from monai_fpt.monailabel.training_task import FPTTrainTask

__all__ = ["MODEL_NAME", "SALIENCY_NAME", "SCORING_NAME", "FPTApp"]

MODEL_NAME = "fpt"
SALIENCY_NAME = "fpt_saliency"
SCORING_NAME = "fpt_uncertainty"
_STOPPING = 30.0  # seconds that whoever stops a training waits for its end
_AT_ONCE = 16  # images read ahead between two scorings

logger = logging.getLogger(__name__)


class FPTApp(MONAILabelApp):  # type: ignore[misc]
    """The app. MONAI Label finds it by name in an app's ``main.py``; a class of your own there must name both as its bases,
    ``class MyApp(FPTApp, MONAILabelApp)``.

    Args:
        app_dir: the app's folder.
        studies: the folder of images.
        conf: options, see the module's story.

    Raises:
        ValueError: an option that cannot be, or studies behind an address, which this app does not read.
        FileNotFoundError: there is no model, or not its backbone.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        conf = dict(conf or {})
        self.model_dir = Path(app_dir) / "model"
        self._warm_up = is_true(conf.get("warm_up", "true"), "--conf warm_up")
        self._track = is_true(conf.get("track", "true"), "--conf track")
        self._unknown = unknown_options(conf)
        for problem in self._unknown:
            logger.warning("%s", problem)
        with settled_model(self.model_dir, conf):
            self.model = PresentModel(
                self.model_dir,
                Path(app_dir) / "cache",
                conf.get("backbone_weights") or None,
                conf.get("device") or "cpu",
            )
        self.scorer = ImageScorer(self.model)
        self._stop = threading.Event()
        self._uploads = uploads_folder()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="FPT+",
            description="FPT+ classifiers of high-resolution images: predict, see where the network looked, correct, retrain",
            version=__version__,
            labels=list(self.model.card.classes),
        )
        mend_server(self._kind_of, self._stop_trainings)

    @property
    def card(self) -> FPTModelCard:
        """Facts of the present model."""
        return self.model.card

    # what MONAI Label asks an app for

    def init_datastore(self) -> Datastore:
        if "://" in self.studies:
            raise ValueError(f"This app reads a folder of studies, not {self.studies!r}; give --studies a folder.")
        return FPTDatastore(self.studies, self._check_label, "FPT+ studies")

    def init_infers(self) -> dict[str, Any]:
        return {MODEL_NAME: FPTInferTask(self.model), SALIENCY_NAME: FPTSaliencyTask(self.model)}

    def init_trainers(self) -> dict[str, Any]:
        defaults = FPTRetrainOptions(fit=dataclasses.replace(FPTFitOptions(), **kept_augmentation(self.model_dir)))
        retrainer = FPTRetrainer(self.model, self._track, self.conf.get("tracking_uri"))
        return {MODEL_NAME: FPTTrainTask(self.model, defaults, retrainer)}

    def init_strategies(self) -> dict[str, Any]:
        return active_strategies(self.model, self.scorer)

    def init_scoring_methods(self) -> dict[str, Any]:
        return {SCORING_NAME: FPTUncertaintyScoring(self.scorer)}

    def init_batch_infer(self) -> FPTBatchInfer:
        return FPTBatchInfer()

    def on_init_complete(self) -> None:
        super().on_init_complete()
        if self._warm_up:
            threading.Thread(target=self._read_ahead, name="fpt-read-ahead", daemon=True).start()

    def async_scoring(self, method: str | None, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Bring the scores up to date in a thread of this process: it takes less than the start of another, in which MONAI
        Label would do it. A background process leaves it to the server, which sees a new model by itself."""
        if self._server_mode:
            self.scorer.refresh_later()
        return {}

    def info(self) -> dict[str, Any]:
        """What clients are told when they connect, with the ``problems`` that somebody has to mend."""
        problems = [problem for problem in (self.model.problem,) if problem] + self._unknown
        return dict(super().info()) | {
            "problems": [*problems, *study_problems(self.datastore(), self.model.features.failed())]
        }

    def bundle_path(self, model: Any) -> None:
        """None: this app runs no bundle of MONAI Label's."""

    # requests

    def infer(self, request: Mapping[str, Any], datastore: FPTDatastore | None = None) -> dict[str, Any]:
        """Answer an inference request.

        Args:
            request: ``model``, ``image`` (an id, or the file the server received) and options; ``save_label`` keeps the answer as
                a label with the tag ``label_tag`` (``original``, of a map ``saliency``).
            datastore: the app's by default.

        Returns:
            ``label`` (its id where one was kept, else the file), ``tag``, ``file`` and ``params``, the JSON for the client.

        Raises:
            RequestError: the request cannot be answered.
        """
        store: FPTDatastore = datastore or self.datastore()
        task = self._infers.get(str(request.get("model")))
        if task is None:
            raise RequestError(
                404, f"There is no model {str(request.get('model'))[:80]!r}; ask for one of {', '.join(self._infers)}."
            )
        image = request.get("image")
        if not isinstance(image, str):
            raise RequestError(
                400, "The request names no image; give the id of one in the studies folder, or send a file."
            )
        with said_to_the_client():
            keep = is_true(request.get("save_label"), "save_label")
        sent = self._received(image, request)
        asked = {**request, "save_label": keep and not sent}
        if not sent:
            asked |= {"image_id": store.resolve(image), "image": store.get_image_uri(image)}
        else:
            asked.pop("image_id", None)
        with said_to_the_client(asked["image"], asked.get("image_id") or "that was sent"):
            file, params = task(asked)
            tag = str(request.get("label_tag") or (SALIENCY if request["model"] == SALIENCY_NAME else ORIGINAL))
            label_id = None
            if file and keep and not sent:
                label_id = store.save_label(asked["image_id"], file, tag, {"model": request["model"], "params": params})
            return {"label": label_id or file, "tag": tag, "file": file, "params": params}

    def infer_wsi(self, request: Mapping[str, Any], datastore: FPTDatastore | None = None) -> dict[str, Any]:
        """The same, asked for by QuPath and DSA; the image is always read whole."""
        return self.infer({**request, "output": request.get("output") or "dsa"}, datastore)

    def batch_infer(self, request: Mapping[str, Any], datastore: FPTDatastore | None = None) -> dict[str, Any]:
        with said_to_the_client():
            return dict(super().batch_infer(dict(request), datastore))

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name = str(request.get("strategy") or "random")
        if name not in self._strategies:
            raise RequestError(
                404, f"There is no strategy {str(name)[:80]!r}; ask for one of {', '.join(self._strategies)}."
            )
        with said_to_the_client():
            return dict(super().next_sample({**request, "strategy": name}))

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if str(request.get("model")) not in self._trainers:
            raise RequestError(
                404,
                f"There is no trainer {str(request.get('model'))[:80]!r}; ask for one of {', '.join(self._trainers)}.",
            )
        with said_to_the_client():
            return dict(super().train(dict(request)))

    def scoring(self, request: Mapping[str, Any], datastore: FPTDatastore | None = None) -> dict[str, Any]:
        name = str(request.get("method"))
        if name not in self._scoring_methods:
            raise RequestError(
                404,
                f"There is no scoring method {str(name)[:80]!r}; ask for one of {', '.join(self._scoring_methods)}.",
            )
        with said_to_the_client():
            return dict(super().scoring(dict(request), datastore))

    # within

    def _kind_of(self, model: str) -> str | None:
        task = self._infers.get(model)
        return None if task is None else str(getattr(task.type, "value", task.type))

    def _stop_trainings(self) -> bool:
        stopped = [task.retrainer.cancel(wait=_STOPPING) for task in self._trainers.values()]
        for task in self._trainers.values():
            task.retrainer.close_killed(wait=_STOPPING)  # of a process that MONAI Label has killed
        return any(stopped)

    def _check_label(self, path: Path, info: Mapping[str, Any]) -> None:
        card = self.model.card
        read_label(path, card.classes, card.task, info)

    def _received(self, image: str, request: Mapping[str, Any]) -> bool:
        """Whether an image is a file that this server has received, and not one of the studies.

        Raises:
            RequestError: 400, it is another path.
        """
        path = Path(image)
        if not path.is_absolute():
            return False
        sessions = self.sessions()
        homes = [self._uploads] + (
            [Path(sessions.store_path)] if sessions is not None and request.get("session") else []
        )
        real = path.resolve()
        if any(home.resolve() in real.parents for home in homes):
            return True
        raise RequestError(
            400, f"{image[:80]!r} is a path; name an image by its id in the studies folder, or send the file."
        )

    def _read_ahead(self) -> None:
        """Features of all images, and whatever comes to the folder later."""
        failed: dict[str, tuple[int, ...]] = {}
        version = -1
        while not self._stop.is_set():
            store: FPTDatastore = self.datastore()
            found = [(image_id, store.get_image_uri(image_id)) for image_id in store.list_images()]
            waiting = [
                (i, path)
                for i, path in found
                if path and not self.model.features.has(i, path) and (i not in failed or failed[i] != file_state(path))
            ]
            for image_id, reason in self.model.features.ensure_all(waiting[:_AT_ONCE], self._stop).items():
                logger.warning("Read ahead: image %s cannot be used: %s", image_id, reason)
                failed[image_id] = file_state(store.get_image_uri(image_id))
            _ = self.model.predictor  # follows what was published
            if waiting or version != self.model.version:
                version = self.model.version
                self.scorer.refresh_later()
            self._stop.wait(0.0 if len(waiting) > _AT_ONCE else 5.0)
