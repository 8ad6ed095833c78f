"""Batch inference: every image has an answer or a reason, and what was predicted is stored as it is made.

MONAI Label's own task ends at the first image that fails, or drops its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from starlette.exceptions import HTTPException

from monai_fpt.monailabel.datastore import FPTDatastore
from monai_fpt.monailabel.errors import RequestError

__all__ = ["FPTBatchInfer"]

logger = logging.getLogger(__name__)


class FPTBatchInfer(BatchInferTask):  # type: ignore[misc]
    """Predict images of the studies folder and keep the predictions as labels, by default with the tag ``original``, of
    ``fpt_saliency`` with ``saliency``.

    The network works on one image at a time, whatever ``max_workers`` says; a second thread would wait for the first.
    """

    def __call__(
        self, request: Mapping[str, Any], datastore: FPTDatastore, infer: Callable[..., Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Predict.

        Args:
            request: ``images`` (``all``, ``labeled``, ``unlabeled`` or a list of ids), ``label_tag``, ``max_batch_size`` (0: all),
                and what the infer task reads.
            datastore: the app's.
            infer: answers one request.

        Returns:
            id to ``{"label", "tag", "params"}``, or to ``{"error": sentence}``.

        Raises:
            RequestError: 400, ``images`` or ``max_batch_size`` is none of these.
        """
        images = self.get_images(request, datastore)
        if not isinstance(images, (list, tuple)) or not all(isinstance(image_id, str) for image_id in images):
            raise RequestError(400, "images must be 'all', 'labeled', 'unlabeled' or a list of ids.")
        most = _count(request.get("max_batch_size") or 0)
        chosen = sorted(images)[: most or None]
        results: dict[str, Any] = {}
        for number, image_id in enumerate(chosen, start=1):
            asked = {**request, "image": image_id, "save_label": True}
            asked.pop("images", None)
            try:
                found = infer(asked, datastore)
                results[image_id] = {key: found[key] for key in ("label", "tag", "params")}
            except HTTPException as error:
                results[image_id] = {"error": str(error.detail)}
                logger.warning("Batch inference: %s", error.detail)
            except Exception as error:  # whatever it is, the answers of the others are not lost with it
                results[image_id] = {"error": " ".join(str(error).split()) or type(error).__name__}
                logger.exception("Batch inference: %s", image_id)
            logger.info("Batch inference: %d of %d", number, len(chosen))
        return results


def _count(value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        raise RequestError(400, f"max_batch_size={str(value)[:40]} must be a whole number; 0 means all images.")
    return count
