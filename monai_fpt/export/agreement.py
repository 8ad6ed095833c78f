"""Does a written file answer as the model does? Drawn images always, real ones where they are given, in batches of 1, 2 and 5.

The model is the package's own predictor with its eager network, and real images go its whole way from the file on; so the comparison covers
recording, translation, the file and its runtime.

One thing no two runtimes can agree on. The backbone keeps the M most important tokens; where the last one kept and the first one left are equally
important to the sixth digit, rounding chooses, and logits move by some thousandths. The model does the same to itself on another processor. So a
file may differ on such an image, if the model gives just that answer to the image plus noise of one part in a million, which is a
four-thousandth of a grey level of 8 bits. Such images are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from monai_fpt.networks.resize import resize_image
from monai_fpt.registry.predictor import FPTPredictor
from monai_fpt.transforms import FPTNormalize, FPTResize

__all__ = ["TOLERANCE", "FPTAgreement", "FPTExportError", "FileAnswers", "Questions", "ask_model", "require_agreement"]

TOLERANCE = 1e-4
_BATCHES = (1, 2, 5)
_NOISE, _TRIES = 1e-6, 64

FileAnswers = Callable[[Tensor], Mapping[str, Tensor]]


class FPTExportError(RuntimeError):
    """A file was not written, for it would not have answered as the model does."""


class Questions(NamedTuple):
    """Images as a file gets them and what the model says about them.

    Attributes:
        images: (N, 3, image_size, image_size) in [0, 1].
        logits: (N, K).
    """

    images: Tensor
    logits: Tensor


class FPTAgreement(NamedTuple):
    """How a file and its model agree.

    Attributes:
        num_images: how many were compared.
        num_undecided: those whose tokens rounding chooses.
        difference: the largest one of a logit or a probability on the others.
    """

    num_images: int
    num_undecided: int
    difference: float


def ask_model(predictor: FPTPredictor, files: Sequence[str | Path] = ()) -> Questions:
    """Ask about drawn images and about real ones.

    Args:
        predictor: the model.
        files: image files.

    Raises:
        ImageReadError: a file cannot be read.
    """
    size = predictor.network.backbone.image_size
    drawn = _draw(sum(_BATCHES), size)
    read = [predictor.read(file) for file in files]
    given = [FPTResize(size)(image) for image in read]
    finished = [predictor.finish(image) for image in read]
    logits = [_logits(predictor, drawn), *([predictor.logits(torch.stack(finished))] if files else [])]
    return Questions(torch.stack([*drawn, *given]), torch.cat(logits))


def require_agreement(ask: FileAnswers, questions: Questions, predictor: FPTPredictor) -> FPTAgreement:
    """Hold a file against the model.

    Args:
        ask: the file, opened.
        questions: images and the model's answers.
        predictor: the model itself.

    Raises:
        FPTExportError: a difference above 1e-4 that rounding does not explain, an answer that is no number, or a batch that is not answered.
    """
    answers = torch.stack([_answers(ask, questions, size, predictor.card.task) for size in _BATCHES], dim=1)
    differences = (answers - questions.logits.unsqueeze(1)).abs().amax(dim=(1, 2))  # (N,)
    odd = [row for row, difference in enumerate(differences.tolist()) if not difference <= TOLERANCE]  # NaN is odd
    for row in odd:
        if not _is_undecided(predictor, questions.images[row], answers[row]):
            raise FPTExportError(
                f"The file's answers differ from the model's by {differences[row]:.2g}, more than {TOLERANCE:g}, so it was not written; try "
                "another format, or another version of the exporter."
            )
    agreeing = [difference for row, difference in enumerate(differences.tolist()) if row not in odd]
    return FPTAgreement(len(differences), len(odd), max(agreeing, default=0.0))


def _answers(ask: FileAnswers, questions: Questions, size: int, task: str) -> Tensor:
    """Logits (N, K) of a file that is asked about ``size`` images at a time; its probabilities must be those of its logits."""
    told = []
    for images, expected in zip(*(torch.split(part, size) for part in questions), strict=True):
        answers = ask(images)
        logits, probabilities = answers["logits"], answers["probabilities"]
        own = logits.sigmoid() if task == "multilabel" else logits.softmax(dim=1)
        if not logits.shape == probabilities.shape == expected.shape or (probabilities - own).abs().max() > TOLERANCE:
            raise FPTExportError(
                f"The file answers {len(expected)} images with logits {tuple(logits.shape)} and probabilities {tuple(probabilities.shape)} that "
                "do not belong to each other or to them, so it was not written; try another format, or another version of the exporter."
            )
        told.append(logits)
    return torch.cat(told)


def _is_undecided(predictor: FPTPredictor, image: Tensor, answers: Tensor) -> bool:
    """Whether each of the answers (n, K) is the model's own to the image or to its like."""
    generator = torch.Generator().manual_seed(0)
    unexplained = answers
    for attempt in range(_TRIES):
        noise = _NOISE * torch.randn(image.shape, generator=generator) if attempt else torch.zeros_like(image)
        own = _logits(predictor, (image + noise).clamp(0, 1).unsqueeze(0))
        near = (unexplained - own).abs().amax(dim=1) <= TOLERANCE
        unexplained = unexplained[~near]
        if not len(unexplained):
            return True
    return False


def _logits(predictor: FPTPredictor, images: Tensor) -> Tensor:
    backbone = predictor.network.backbone
    normalize = FPTNormalize(**predictor.card.normalization(backbone.mean, backbone.std))
    return predictor.logits(torch.stack([normalize(image) for image in images]))


def _draw(number: int, size: int) -> Tensor:
    """Coarse patches and fine noise, (N, 3, size, size) in [0, 1], the same every time."""
    generator = torch.Generator().manual_seed(0)
    coarse = resize_image(torch.rand(number, 3, 8, 8, generator=generator), size)
    return (0.7 * coarse + 0.3 * torch.rand(number, 3, size, size, generator=generator)).clamp(0, 1)
