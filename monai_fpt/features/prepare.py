"""Make sure that the features of a data list are in the cache: what training and evaluation do first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed

from monai_fpt.features.extract import ExtractionReport, extract
from monai_fpt.features.store import FeatureStore
from monai_fpt.networks import FrozenViT

__all__ = ["ensure_features"]


def ensure_features(
    sections: Sequence[list[dict[str, Any]]],
    store: FeatureStore,
    backbone: FrozenViT,
    load: Callable[[Mapping[str, Any]], Any],
    *,
    skip_unreadable: bool = False,
    batch_size: int = 4,
    num_workers: int = 0,
    device: str | torch.device = "cpu",
    fail_fast: bool = False,
    views: Sequence[Mapping[str, Any]] = (),
) -> ExtractionReport:
    """Extract what is missing in the cache, then hold the data list against it.

    Under ``torch.distributed`` every process extracts its share and waits for the others.

    Args:
        sections: lists of data list items (training, validation, ...).
        store, backbone, load, batch_size, num_workers, device, fail_fast: as of :func:`extract`.
        views: further stores and how they read an image, ``"store"`` and ``"load"``; filled likewise.
        skip_unreadable: remove images that could not be read from the lists, in place, and say so, instead of raising.

    Returns:
        this process's :class:`ExtractionReport`.

    Raises:
        UnreadableImagesError: images that could not be read, after all others are done, unless ``skip_unreadable``.
        DiskSpaceError: the features do not fit.
    """
    for view in views:
        ensure_features(
            sections,
            view["store"],
            backbone,
            view["load"],
            skip_unreadable=skip_unreadable,
            batch_size=batch_size,
            num_workers=num_workers,
            device=device,
            fail_fast=fail_fast,
        )
    items = [item for section in sections for item in section]
    report = extract(
        items, store, backbone, load, batch_size=batch_size, num_workers=num_workers, device=device, fail_fast=fail_fast
    )
    failed = dict(report.failed)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gathered: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, failed)
        failed = {key: reason for part in gathered for key, reason in part.items()}
        _see_all(store, {str(item["key"]) for item in items} - set(failed))
    if int(os.environ.get("RANK", 0)) == 0:
        print(report, flush=True)
    everything = ExtractionReport(
        report.extracted, report.reused, tuple(failed.items()), report.seconds, report.num_bytes
    )
    if not skip_unreadable:
        everything.require_complete()
    for section in sections:
        section[:] = [item for item in section if str(item["key"]) not in failed]
    if failed:
        print(f"Going on without {len(failed)} unreadable images (skip_unreadable).", flush=True)
    return report


def _see_all(store: FeatureStore, keys: set[str], seconds: float = 90.0) -> None:
    """Read the journals until they hold these images, which others have finished: a client of a network file system may
    list a folder as it was up to a minute ago.
    """
    deadline = time.monotonic() + seconds
    store.reload()
    while not all(key in store for key in keys) and time.monotonic() < deadline:
        time.sleep(1)
        store.reload()
