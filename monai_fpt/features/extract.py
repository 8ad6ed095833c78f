"""Fill a store from a data list: each image is read once, by the frozen backbone, and never again.

How a file becomes pixels is not this room's business: the caller gives ``load``. What is already in the cache is left
alone, so an interrupted extraction goes on where it was. Under torchrun every process takes its share and writes its
own part.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from monai_fpt._files import file_sha256
from monai_fpt._progress import tqdm_bar
from monai_fpt.features.spec import FeatureSpec
from monai_fpt.features.store import FeatureStore, FeatureWriter, preparation_facts
from monai_fpt.networks import FrozenViT, TokenFeatures, resize_image

__all__ = ["DiskSpaceError", "ExtractionReport", "UnreadableImagesError", "extract"]

_MENDS = {
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room in your quota",
    errno.EACCES: "Get the right to write there",
}
_COMPUTE = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class DiskSpaceError(OSError):
    """The features will not fit, or did not fit, on the disk."""


class UnreadableImagesError(ValueError):
    """Some images of a data list could not be read."""


@dataclasses.dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did.

    Attributes:
        extracted: how many images were read.
        reused: how many were in the cache already.
        failed: key and reason of every image that could not be read.
        seconds: wall time.
        num_bytes: written.
    """

    extracted: int
    reused: int
    failed: tuple[tuple[str, str], ...]
    seconds: float
    num_bytes: int

    def __str__(self) -> str:
        text = (
            f"Features: {self.extracted} images extracted in {self.seconds:.1f} s, {self.reused} already in the cache"
        )
        if self.failed:
            text += f"; {len(self.failed)} could not be read:" + "".join(
                f"\n  {key}: {reason}" for key, reason in self.failed
            )
        return text

    def require_complete(self) -> None:
        """Raise :class:`UnreadableImagesError` if an image could not be read."""
        if self.failed:
            listed = "; ".join(f"{key} ({reason})" for key, reason in self.failed[:5])
            more = f"; and {len(self.failed) - 5} more" if len(self.failed) > 5 else ""
            raise UnreadableImagesError(
                f"{len(self.failed)} images could not be read: {listed}{more}. Repair or remove them, or set skip_unreadable to go on without."
            )


class _Images(Dataset[dict[str, Any]]):
    """Reads, resizes and fingerprints one image; a failure is a result, not an exception."""

    def __init__(self, items: Sequence[Mapping[str, Any]], load: Callable[[Mapping[str, Any]], Any], size: int) -> None:
        self.items, self.load, self.size = items, load, size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        facts: dict[str, Any] = {"key": str(item["key"]), "facts": preparation_facts(item)}
        try:
            stat = os.stat(item["image"])
            facts |= {"sha256": file_sha256(item["image"]), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            loaded = self.load(dict(item))
            image = torch.as_tensor(loaded["image"] if isinstance(loaded, Mapping) else loaded).as_subclass(Tensor)
            if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
                raise ValueError(
                    f"load gave {image.dtype} of shape {tuple(image.shape)}, expected floating point (3, H, W)"
                )
            if not bool(((image >= -1e-3) & (image <= 1 + 1e-3)).all()):
                raise ValueError(f"load gave values from {image.min():.3g} to {image.max():.3g}, expected [0, 1]")
            return facts | {"image": resize_image(image.float()[None], self.size)[0].clamp(0, 1)}
        except Exception as error:  # whatever a decoder raises
            reason: BaseException = error
            while reason.__cause__ is not None:  # MONAI wraps the reader's sentence
                reason = reason.__cause__
            return facts | {"error": " ".join(str(reason).split()) or type(reason).__name__}


def _as_list(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return batch


def extract(
    items: Iterable[Mapping[str, Any]],
    store: FeatureStore,
    backbone: FrozenViT,
    load: Callable[[Mapping[str, Any]], Any],
    *,
    batch_size: int = 4,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    fail_fast: bool = False,
    progress: bool = True,
    rank: int | None = None,
    world_size: int | None = None,
) -> ExtractionReport:
    """Extract the features of every image that is not in the store yet.

    Args:
        items: data list items with ``"image"`` (path of the file) and ``"key"`` (unique relative path).
        store: where features go; its spec decides normalisation, precision and selection.
        backbone: the frozen network, whose fingerprint must be the spec's.
        load: item -> (3, H, W) floating point image in [0, 1], of any size, or a mapping with such an ``"image"`` (a
            MONAI chain).
        batch_size: images per pass of the backbone.
        num_workers: processes that read images; 0 reads them in this one.
        device: where the backbone runs.
        fail_fast: raise at the first unreadable image instead of reporting all at the end.
        progress: print the disk need and show a progress bar.
        rank, world_size: this process's share; None takes torchrun's environment, and shares evenly what is missing where
            a process group is there.

    Returns:
        an :class:`ExtractionReport`.

    Raises:
        DiskSpaceError: the features will not fit on the disk, or it filled up; finished images are safe.
        UnreadableImagesError: with ``fail_fast``.
        ValueError: the backbone is not the spec's, or two items have one key.
    """
    start = time.monotonic()
    _require_same_taps(backbone, store.spec)
    if backbone.fingerprint != store.spec.backbone_fingerprint:
        raise ValueError(
            f"The backbone's weights ({backbone.fingerprint[:12]}) are not those of the spec ({store.spec.backbone_fingerprint[:12]})."
        )
    told = rank is None and torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = int(os.environ.get("RANK", 0)) if rank is None else rank
    world_size = int(os.environ.get("WORLD_SIZE", 1)) if world_size is None else world_size
    everything = _unique(items)
    missing = [i for i, item in enumerate(everything) if store.find(item) is None]
    share = [everything[i] for i in _share(missing, rank, world_size, told)]
    progress = progress and rank == 0
    if progress and missing:
        print(
            f"Backbone: {backbone.name}, fingerprint {backbone.fingerprint[:12]}; timm states its licence as: {backbone.license}"
        )
    _require_space(store, len(missing), progress and bool(missing))
    if not share:
        return ExtractionReport(0, len(everything) - len(missing), (), time.monotonic() - start, 0)

    backbone = backbone.to(device)
    images = _Images(share, load, store.spec.image_size)
    loader = DataLoader(images, batch_size=batch_size, num_workers=num_workers, collate_fn=_as_list)
    failed: list[tuple[str, str]] = []
    done = 0
    try:
        with (
            store.writer() as writer,
            tqdm_bar(total=len(share), unit="image", desc="Extracting features", progress=progress) as bar,
        ):
            for batch in loader:
                failed += [(entry["key"], entry["error"]) for entry in batch if "error" in entry]
                if failed and fail_fast:
                    ExtractionReport(done, 0, tuple(failed), 0.0, 0).require_complete()
                good = [entry for entry in batch if "error" not in entry]
                refused = list(_write(writer, backbone, store, good, device)) if good else []
                failed += refused
                done += len(good) - len(refused)
                bar.update(len(batch))
    except OSError as error:
        if isinstance(error, DiskSpaceError):
            raise
        raise DiskSpaceError(
            f'Writing to the feature cache "{store.path}" failed ({error.strerror or error}); {done} images are finished and safe. '
            f"{_MENDS.get(error.errno or 0, 'Mend that')} and run the same command again: it goes on from there."
        ) from error
    reused = len(everything) - len(missing)
    return ExtractionReport(done, reused, tuple(failed), time.monotonic() - start, done * store.layout.num_bytes)


def _require_same_taps(backbone: FrozenViT, spec: FeatureSpec) -> None:
    names = ("image_size", "blocks", "importance", "prefix_tokens", "positions", "num_tokens", "norm_eps")
    differing = [
        f"{name} (backbone: {getattr(backbone, name)}, spec: {getattr(spec, name)})"
        for name in names
        if getattr(backbone, name) != getattr(spec, name)
    ]
    if differing:
        raise ValueError(
            f"The backbone is not set up as the spec says: {'; '.join(differing)}; use the network the spec was made from."
        )


def _unique(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_key: dict[str, Mapping[str, Any]] = {}
    for item in items:
        other = by_key.setdefault(str(item["key"]), item)
        if other is not item and os.path.abspath(other["image"]) != os.path.abspath(item["image"]):
            raise ValueError(
                f'Two images have the key "{item["key"]}"; keys of a data list must be unique, use relative paths.'
            )
    return list(by_key.values())


def _share(missing: list[int], rank: int, world_size: int, told: bool) -> list[int]:
    """Which of the missing images this process reads.

    Processes do not see the same cache, as one may have finished images before another starts. Where they can talk, all
    deal out what the first of them misses, so that what an interrupted run left is shared evenly; else they deal out the
    whole list, and each reads what it misses of its share.
    """
    if not told or world_size == 1:
        return [i for i in missing if i % world_size == rank]
    first: list[list[int]] = [missing]
    torch.distributed.broadcast_object_list(first, src=0)
    return first[0][rank::world_size]


def _require_space(store: FeatureStore, num_images: int, announce: bool) -> None:
    need = num_images * store.layout.num_bytes
    existing = next(p for p in (store.path, *store.path.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    per_image = store.layout.num_bytes
    if announce:
        print(
            f"Features: {num_images} images x {per_image / 1e6:.2f} MB = {need / 1e9:.2f} GB in {store.path} ({free / 1e9:.1f} GB free)",
            flush=True,
        )
    if need > free:
        raise DiskSpaceError(
            f'The features of {num_images} images need {need / 1e9:.2f} GB, but "{existing}" has only {free / 1e9:.2f} GB free; '
            f'make room, choose another cache_dir, or store less (feature_dtype "int8", a smaller token_ratio or num_tokens).'
        )


def _read(backbone: FrozenViT, images: Tensor, spec: FeatureSpec) -> tuple[TokenFeatures, Tensor | None]:
    """What the specification keeps of a batch; the features are the same numbers whether or not tokens are kept."""
    if spec.tokens == "none":
        return backbone(images), None
    features, tokens = backbone.forward_tokens(images)
    return features, backbone.pool_tokens(tokens) if spec.tokens == "pooled" else tokens


def _write(
    writer: FeatureWriter,
    backbone: FrozenViT,
    store: FeatureStore,
    entries: list[dict[str, Any]],
    device: str | torch.device,
) -> Iterator[tuple[str, str]]:
    spec = store.spec
    images = torch.stack([entry["image"] for entry in entries]).to(device)
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (spec.mean, spec.std))
    dtype = _COMPUTE[spec.compute_dtype]
    with torch.autocast(images.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        (features, indices), tokens = _read(backbone, (images - mean) / std, spec)
    thumbnails = (resize_image(images, spec.thumbnail_size) * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    features, indices = features.cpu(), indices.cpu()
    rows = [None] * len(entries) if tokens is None else list(tokens.cpu())
    for i, entry in enumerate(entries):
        try:
            writer.add(
                entry["key"],
                entry["sha256"],
                entry["size"],
                entry["mtime_ns"],
                features[i],
                indices[i],
                thumbnails[i],
                rows[i],
                entry["facts"],
            )
        except ValueError as error:
            yield entry["key"], str(error)
    writer.flush()
