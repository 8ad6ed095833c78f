"""FPTResidentFeatures: a feature data set that lies on a device as a whole.

Where all features fit on a GPU (or in memory), they are read from the cache once, checked, and moved over the bus once; a
batch is then some rows of tensors that lie there already. Decisions:

- What an item holds is what :class:`FeatureDataset` gives for it, number by number: the items are read through it.
- Room is asked for before anything is read. What is free now is counted, less a reserve for the training itself; where
  features do not fit the error says how many bytes are missing, and training from the cache goes on as before.
- The thumbnails lie there too, and the transform is applied to them there, item by item: augmentation draws as it does for
  a FeatureDataset. What the transform draws and computes is the same; where a device computes otherwise than the CPU, so
  may its images, within rounding.
- Features are not transformed: an item's features are a view of the one tensor, a batch's are gathered on the device.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from monai_fpt._progress import tqdm_bar
from monai_fpt.features.dataset import FeatureDataset
from monai_fpt.networks import CachedFeatures, QuantizedFeatures

__all__ = ["FPTDeviceMemoryError", "FPTResidentFeatures"]

_RESERVE = {"cpu": 2 * 2**30}
_RESERVE_ELSEWHERE = 2**30


class FPTDeviceMemoryError(MemoryError):
    """The features of a data set do not fit on a device."""


class FPTResidentFeatures(Dataset[dict[str, Any]]):
    """The items of a :class:`FeatureDataset`, with thumbnails and features on a device.

    It takes the place of the data set in a loader of the same process (``num_workers`` 0), or is asked for whole batches by
    :meth:`batch`, which gathers features in one step.

    Args:
        dataset: whose items these are; its transform is applied to items whose ``"image"`` lies on the device.
        device: where they shall lie; ``"cpu"`` keeps them in memory.
        reserve: bytes that must stay free there, for the training; None leaves 1 GiB on an accelerator, 2 GiB in memory.
        progress: show a progress bar.

    Attributes:
        features: (N, L, 2, H, M, D) in the stored precision, or :class:`QuantizedFeatures`, of the N different items.
        thumbnails: (N, 3, T, T) uint8.

    Raises:
        ValueError: the data set has several views, or loads images again.
        FPTDeviceMemoryError: they do not fit.
        MissingFeaturesError: images are not in the cache.

    Example:
        >>> # resident = FPTResidentFeatures(FeatureDataset(items, store, transform), "cuda")
        >>> # DataLoader(resident, batch_size=16, shuffle=True)
    """

    def __init__(
        self,
        dataset: FeatureDataset,
        device: str | torch.device,
        reserve: int | None = None,
        progress: bool = False,
    ) -> None:
        if len(dataset.stores) > 1 or dataset.load is not None:
            raise ValueError(
                "FPTResidentFeatures: the data set has views or load, so that an item differs between accesses; leave them out, or train from "
                "the cache."
            )
        self.device = torch.device(device)
        self.transform: Callable[[dict[str, Any]], Any] | None = dataset.transform
        plain = copy.copy(dataset)
        plain.transform = None
        first: dict[int, int] = {}  # an item that is listed several times lies here once
        items = list(plain.data)  # held here, so that no two have one id
        for row, item in enumerate(items):
            first.setdefault(id(item), row)
        places = {number: place for place, number in enumerate(first)}
        self._places = [places[id(item)] for item in items]
        spec, count = plain.store.spec, len(first)
        _require_room(count, plain.store.layout.num_bytes, self.device, reserve)
        dtype = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8}[spec.dtype]
        stored = torch.empty(count, *spec.feature_shape, dtype=dtype, device=self.device)
        self.features: CachedFeatures = stored
        if spec.dtype == "int8":
            blocks, two, heads, _, dim = spec.feature_shape
            self.features = QuantizedFeatures(stored, torch.empty(count, blocks, two, heads, dim, device=self.device))
        self.thumbnails = torch.empty(
            count, 3, spec.thumbnail_size, spec.thumbnail_size, dtype=torch.uint8, device=self.device
        )
        self._items: list[dict[str, Any]] = []
        for row in tqdm_bar(first.values(), unit="image", desc="Loading features", progress=progress):
            item, place = plain[row], len(self._items)
            self.thumbnails[place] = item.pop("image")
            features = item.pop("features")
            for whole, part in zip(_parts(self.features), _parts(features), strict=True):
                whole[place] = part
            self._items.append(item)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        """An item as :class:`FeatureDataset` gives it; its features are views and must not be written to."""
        item = self._image_item(index)
        rows = [part[self._places[index]] for part in _parts(self.features)]
        item["features"] = rows[0] if len(rows) == 1 else QuantizedFeatures(*rows)
        return item if self.transform is None else self.transform(item)

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        """Several items, collated: what a loader's default makes of them, with features gathered in one step.

        Args:
            rows: numbers of the items.

        Raises:
            TypeError: the transform gives no dictionary.
        """
        items = []
        for row in rows:
            item = self._image_item(row)
            item = item if self.transform is None else self.transform(item)
            if not isinstance(item, dict):
                raise TypeError(
                    f"The transform gave {type(item).__name__}, but batches are made of dictionaries; ask for single items."
                )
            items.append(item)
        collated: dict[str, Any] = default_collate(items)
        where = torch.as_tensor([self._places[row] for row in rows], device=self.device)
        gathered = [part.index_select(0, where) for part in _parts(self.features)]
        return collated | {"features": gathered[0] if len(gathered) == 1 else QuantizedFeatures(*gathered)}

    def _image_item(self, index: int) -> dict[str, Any]:
        place = self._places[index]
        return self._items[place] | {"image": self.thumbnails[place]}


def _parts(features: CachedFeatures) -> tuple[Tensor, ...]:
    return tuple(features) if isinstance(features, QuantizedFeatures) else (features,)


def _require_room(count: int, num_bytes: int, device: torch.device, reserve: int | None) -> None:
    reserve = _RESERVE.get(device.type, _RESERVE_ELSEWHERE) if reserve is None else reserve
    free, need = _free_bytes(device), count * num_bytes
    if free is not None and need + reserve > free:
        raise FPTDeviceMemoryError(
            f"The features of {count} images need {need / 1e9:.2f} GB on {device} beside {reserve / 1e9:.2f} GB for the training, but "
            f'{free / 1e9:.2f} GB are free; train from the cache (FeatureDataset), or store less (feature_dtype "int8", a smaller token_ratio).'
        )


def _free_bytes(device: torch.device) -> int | None:
    """What can be had on a device now; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    if device.type == "cpu":
        return _available_memory()
    return None


def _available_memory() -> int | None:
    """Memory that can be had without swapping: Linux counts the page cache in."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = next(line.split()[1] for line in file if line.startswith("MemAvailable:"))
        return int(found) * 1024
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
