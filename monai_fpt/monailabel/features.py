"""StudyFeatures: what the frozen backbone saw of the images of a studies folder, kept while readers read.

One object in the server and one in each of its background processes stand over the same cache folder. Whoever needs an
image first pays for its backbone pass (about a second on a CPU); prediction, saliency, active learning and training then
read the cache. So the answers a reader sees come from the very numbers the next training learns from.

Decisions:

- One backbone pass at a time, and one writer: a process has one part of the cache, not one for each image. Reading takes
  no lock that a pass holds, so an image that is cached is answered while another is being extracted.
- What another process has written meanwhile is found at the next miss: the store is opened anew beside the old one and
  exchanged in one step, so that nobody sees a half-read index.
- The key of an image is its id in the datastore. A file that changed is another entry, as in every cache.
- A file whose time is in whole seconds, as archives leave them, is told by its content. It is hashed once, and again only when the
  file system says that it was touched: else all images would be read again each time the folder is looked through.
- Pooled vectors, for diversity, are kept in memory once made; they are some kilobytes an image.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.transforms import Compose
from torch import Tensor

from monai_fpt._files import file_sha256
from monai_fpt.data import FPTImageReader, FPTLoadImaged, ImageReadError
from monai_fpt.features import FeatureEntry, FeatureSpec, FeatureStore, FeatureWriter, FPTModelCard
from monai_fpt.monailabel.contents import file_state
from monai_fpt.monailabel.names import named_for_readers
from monai_fpt.networks import CachedFeatures, FPTClassifier, QuantizedFeatures, resize_image
from monai_fpt.registry import FPTPredictor
from monai_fpt.transforms import FPTResized, fpt_describe, fpt_transforms

__all__ = ["StudyFeatures", "study_spec"]

_SETTLED = 2_000_000_000  # nanoseconds since the last change after which a file's facts are believed


def study_spec(card: FPTModelCard, network: FPTClassifier) -> FeatureSpec:
    """The specification of the features of a model: its own, or for one that was not trained yet that of its network."""
    if card.features is not None:
        return card.features
    chain = [FPTLoadImaged("image", FPTImageReader(**card.reader)), *fpt_transforms(card.preparing)]
    described = fpt_describe(Compose([*chain, FPTResized("image", card.network.image_size)]))
    return FeatureSpec.from_network(network, preprocessing=described)


class StudyFeatures:
    """The features of the images of an app. Threads may use one object at the same time.

    Args:
        predictor: a model; its backbone and its preparation of images are used, not its learned weights, so a model that
            is published later (same backbone, same preparation) reads the same cache.
        cache_dir: the folder of the cache; made when the first image is written.

    Attributes:
        spec: what the features are.
        backbone: the frozen backbone; only :meth:`ensure` may run it, a pass hangs hooks on it.

    Raises:
        FeatureSpecMismatchError: the folder holds features of another backbone or preparation.

    Example:
        >>> features = StudyFeatures(FPTPredictor.from_folder("run"), "cache")  # doctest: +SKIP
        >>> features.ensure("ward/a.png", "/studies/ward/a.png")  # doctest: +SKIP
        >>> thumbnails, kept = features.get(["ward/a.png"])  # doctest: +SKIP
        >>> logits = network(features.side_images(thumbnails, network.side_size), kept)  # doctest: +SKIP
    """

    def __init__(self, predictor: FPTPredictor, cache_dir: str | Path) -> None:
        self.backbone = predictor.network.backbone
        self.spec = study_spec(predictor.card, predictor.network)
        self.device = predictor.device
        self._read = predictor.read
        self._store = FeatureStore(cache_dir, self.spec)
        self._writer: FeatureWriter | None = None
        self._pass = threading.Lock()  # of the backbone and of the writer
        self._foreign = self._foreign_journals()
        self._failed: dict[str, tuple[tuple[int, ...], str]] = {}
        self._pooled: dict[str, tuple[FeatureEntry, Tensor]] = {}
        self._seen: dict[
            str, tuple[tuple[int, ...], FeatureEntry]
        ] = {}  # what a file was when its content was compared
        self._present: dict[str, FeatureEntry] = {}  # of the content that a file had when it was last looked at

    @property
    def store(self) -> FeatureStore:
        """The cache as it is known now, for :class:`~monai_fpt.features.FeatureDataset`; items need ``"key"``, the image's
        id."""
        return self._store

    def ids(self) -> list[str]:
        """Ids of all images in the cache, also of such that are no longer in the studies folder."""
        return self._store.keys()

    def has(self, image_id: str, path: str | Path | None = None) -> bool:
        """Whether an image is in the cache; with its path, in its present content."""
        if path is None:
            return self._find(image_id, None) is not None
        touched = file_state(path)
        seen = self._seen.get(image_id)
        if seen is not None and seen[0] == touched:
            self._present[image_id] = seen[1]
            return True
        found = self._find(image_id, path)
        if found is not None:
            self._present[image_id] = found
            if (
                touched and time.time_ns() - touched[-1] > _SETTLED
            ):  # a change within one tick of the clock would not be seen
                self._seen[image_id] = (touched, found)
        return found is not None

    def ensure(self, image_id: str, path: str | Path) -> None:
        """Have an image in the cache: at once where it is, after one backbone pass where it is not.

        Args:
            image_id: its id in the datastore.
            path: its file.

        Raises:
            ImageReadError: the file cannot be read.
            ValueError: the image cannot be prepared as the model's training did, or gives features that cannot be stored.
            OSError: the cache cannot be written.
        """
        if self.has(image_id, path):
            return
        state = file_state(path)
        try:
            self._add(image_id, path)
        except ValueError as error:
            kind = ImageReadError if isinstance(error, ImageReadError) else ValueError
            told = named_for_readers(str(error), path, image_id)
            self._failed[image_id] = (state, told)
            raise kind(told) from error
        self._failed.pop(image_id, None)
        self.tokens([image_id])

    def failed(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Images that this process could not read or prepare: id to what :func:`file_state` said of the file then, and the reason."""
        return dict(self._failed)

    def _add(self, image_id: str, path: str | Path) -> None:
        """Read an image and write what the backbone sees of it."""
        facts = os.stat(path) if os.path.exists(path) else None
        sha256 = file_sha256(path) if facts else ""
        image = self._read(path)  # outside the lock: files are read at the same time; raises for a missing one
        assert facts is not None
        with self._pass:
            self._take_over_foreign()
            if self.has(image_id, path):
                return
            features, indices, thumbnail = self._extract(image)
            if self._writer is None:
                self._writer = self._store.writer()
            self._writer.add(image_id, sha256, facts.st_size, facts.st_mtime_ns, features, indices, thumbnail)
            self._writer.flush()
            self._present.pop(image_id, None)
            self.has(image_id, path)  # remembers it as the present content

    def compute(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the cache would hold of an image that belongs to no study; nothing is written.

        Args:
            image: (3, H, W) in [0, 1], as :meth:`FPTPredictor.read <monai_fpt.registry.FPTPredictor.read>` gives it.

        Returns:
            thumbnail (1, 3, T, T) uint8, features (1, L, 2, H, M, D) float32 and indices (1, L, H, M).
        """
        with self._pass:
            features, indices, thumbnail = self._extract(image)
        return thumbnail[None], features[None].float(), indices[None]

    def get(self, image_ids: Sequence[str]) -> tuple[Tensor, CachedFeatures]:
        """Thumbnails and features of images, in the content that :meth:`ensure` or :meth:`has` last found in their files.

        Args:
            image_ids: ids that :meth:`ensure` has seen.

        Returns:
            thumbnails (N, 3, T, T) uint8, see :meth:`side_images`; and features (N, L, 2, H, M, D) in the stored precision,
            or :class:`~monai_fpt.networks.QuantizedFeatures`.

        Raises:
            KeyError: an image that is not in the cache.
        """
        stored = [self._store.read(self._entry(image_id)) for image_id in image_ids]
        kept = [image.features for image in stored]
        features: CachedFeatures
        if any(isinstance(part, QuantizedFeatures) for part in kept):
            features = QuantizedFeatures(*(torch.stack([part[i] for part in kept]) for i in (0, 1)))
        else:
            features = torch.stack([part for part in kept if isinstance(part, Tensor)])
        return torch.stack([image.thumbnail for image in stored]), features

    def indices(self, image_ids: Sequence[str]) -> Tensor:
        """(N, L, H, M): which tokens the features of :meth:`get` are of.

        Raises:
            KeyError: an image that is not in the cache.
        """
        return torch.stack([self._store.read(self._entry(image_id)).indices for image_id in image_ids])

    def side_images(self, thumbnails: Tensor, side_size: int) -> Tensor:
        """Thumbnails as the side network reads them in prediction.

        Args:
            thumbnails: (N, 3, T, T) uint8.
            side_size: the network's.

        Returns:
            float32 (N, 3, side_size, side_size), normalised.
        """
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.spec.mean, self.spec.std))
        return resize_image((thumbnails.float() / 255 - mean) / std, side_size)

    def tokens(self, image_ids: Sequence[str]) -> Tensor:
        """One vector an image, for distances: the kept tokens' values of the last tapped block, averaged, of length 1.

        Returns:
            float32 (N, H x D).

        Raises:
            KeyError: an image that is not in the cache.
        """
        pooled = []
        for image_id in image_ids:
            entry = self._entry(image_id)
            known = self._pooled.get(image_id)
            if known is None or known[0] != entry:
                known = (entry, _pooled(self._store.read(entry).features))
                self._pooled[image_id] = known
            pooled.append(known[1])
        return torch.stack(pooled) if pooled else torch.zeros(0, self.spec.num_heads * self.spec.head_dim)

    def ensure_all(
        self, images: Iterable[tuple[str, str | Path]], stop: threading.Event | None = None
    ) -> Mapping[str, str]:
        """:meth:`ensure` for many, in order; an image that fails does not hold up the others.

        Args:
            images: ids and paths.
            stop: set it to end early, after the image in work.

        Returns:
            id and reason of every image that failed.
        """
        failed = {}
        for image_id, path in images:
            if stop is not None and stop.is_set():
                break
            try:
                self.ensure(image_id, path)
            except (ValueError, OSError) as error:
                failed[image_id] = str(error)
        return failed

    def refresh(self) -> None:
        """Look for what other processes have written; :meth:`ensure` does it before each backbone pass."""
        with self._pass:
            self._take_over_foreign()

    def close(self) -> None:
        """End this process's part of the cache; the object can be used on and then begins another."""
        with self._pass:
            self._close_writer()

    def entry(self, image_id: str) -> FeatureEntry | None:
        """Which features :meth:`get` gives of an image: of its present content, else the newest; None where there are none."""
        return self._present.get(image_id) or self._find(image_id, None)

    def _entry(self, image_id: str) -> FeatureEntry:
        entry = self.entry(image_id)
        if entry is None:
            raise KeyError(f"The features of image {image_id!r} are not in the cache; call ensure() first.")
        return entry

    def _find(self, image_id: str, path: str | Path | None) -> FeatureEntry | None:
        item: dict[str, Any] = {"key": image_id} if path is None else {"key": image_id, "image": str(path)}
        while True:
            try:
                return self._store.find(item)
            except RuntimeError:  # a new version of this very image was written while its versions were looked through
                continue

    @torch.no_grad()
    def _extract(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(3, H, W) in [0, 1] -> features, indices and thumbnail of one image, as an extraction makes them."""
        square = resize_image(image.float()[None], self.spec.image_size).clamp(0, 1).to(self.device)
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.spec.mean, self.spec.std)
        )
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.spec.compute_dtype)
        with torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            features, indices = self.backbone((square - mean) / std)
        thumbnail = (resize_image(square, self.spec.thumbnail_size) * 255).round().clamp(0, 255).to(torch.uint8)
        return features[0].cpu(), indices[0].cpu(), thumbnail[0].cpu()

    def _foreign_journals(self) -> dict[str, int]:
        own = None if self._writer is None else self._writer.part
        journals = (self._store.path / "parts").glob("*.jsonl")
        return {path.stem: path.stat().st_size for path in journals if path.stem != own}

    def _take_over_foreign(self) -> None:
        found = self._foreign_journals()
        if found == self._foreign:
            return
        self._close_writer()  # it remembers its images in the store that is given up
        self._store = FeatureStore(self._store.path, self.spec)
        self._seen = {}  # entries of the store that is given up
        self._foreign = self._foreign_journals()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None
            self._foreign = self._foreign_journals()


def _pooled(features: CachedFeatures) -> Tensor:
    """(L, 2, H, M, D) -> (H x D) of length 1."""
    if isinstance(features, QuantizedFeatures):
        values = features.codes[-1, 1].float() * features.scales[-1, 1].unsqueeze(-2)
    else:
        values = features[-1, 1].float()
    return F.normalize(values.mean(dim=1).flatten(), dim=0)
