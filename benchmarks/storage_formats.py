"""Which file format should hold the features: random reads of whole images, and appending them durably.

    python -m benchmarks.storage_formats [--images 200] [--reads 400] [--folder DIR]

Records of ViT-B/16 at 512 px in float16 (3.78 MB per image) are written with an fsync per 16 images, then read image by
image in random order from the page cache and copied into a batch tensor, as a shuffled training epoch does. Formats: one file per
image (safetensors; what the authors do), one safetensors file read by slices, a raw file under numpy.memmap, LMDB and
Zarr (one chunk per image, no compression). The last two are measured only where they are installed; they are no
dependency of the package. Prints a table and the ratio to the raw memory map.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read
SHAPE = (6, 2, 12, 205, 64)


def fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def file_per_image(folder: Path, records: np.ndarray) -> Callable[[int], torch.Tensor]:
    for i, record in enumerate(records):
        save_file({"f": torch.from_numpy(record)}, folder / f"{i}.safetensors")
        if i % 16 == 15:
            fsync(folder / f"{i}.safetensors")
    return lambda i: load_file(folder / f"{i}.safetensors")["f"]


def safetensors_slices(folder: Path, records: np.ndarray) -> Callable[[int], torch.Tensor]:
    save_file({"f": torch.from_numpy(records)}, folder / "all.safetensors")  # can only be written at once
    fsync(folder / "all.safetensors")
    view = safe_open(folder / "all.safetensors", "pt").__enter__().get_slice("f")
    return lambda i: view[i : i + 1][0]


def raw_memmap(folder: Path, records: np.ndarray) -> Callable[[int], torch.Tensor]:
    with open(folder / "all.bin", "wb") as file:
        for i, record in enumerate(records):
            file.write(record.tobytes())
            if i % 16 == 15:
                file.flush()
                os.fsync(file.fileno())
    view = np.memmap(folder / "all.bin", dtype=records.dtype, mode="c", shape=records.shape)
    return lambda i: torch.from_numpy(view[i])


def lmdb_file(folder: Path, records: np.ndarray) -> Callable[[int], torch.Tensor]:
    import lmdb

    env = lmdb.open(str(folder / "lmdb"), map_size=records.nbytes * 2)
    for start in range(0, len(records), 16):
        with env.begin(write=True) as transaction:
            for i in range(start, min(start + 16, len(records))):
                transaction.put(str(i).encode(), records[i].tobytes())
    reader = env.begin(buffers=True)
    return lambda i: torch.from_numpy(np.frombuffer(reader.get(str(i).encode()), records.dtype).reshape(SHAPE))


def zarr_array(folder: Path, records: np.ndarray) -> Callable[[int], torch.Tensor]:
    import zarr

    array = zarr.create_array(
        store=str(folder / "zarr"), shape=records.shape, chunks=(1, *SHAPE), dtype=records.dtype, compressors=None
    )
    array[:] = records
    return lambda i: torch.from_numpy(np.asarray(array[i]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--reads", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    records = np.random.default_rng(0).standard_normal((options.images, *SHAPE), dtype=np.float32).astype(np.float16)
    order = np.random.default_rng(1).integers(0, options.images, options.reads)
    rows = []
    for write in (raw_memmap, file_per_image, safetensors_slices, lmdb_file, zarr_array):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            try:
                start = time.perf_counter()
                read = write(Path(folder), records)
                wrote = time.perf_counter() - start
            except ImportError as error:
                print(f"{write.__name__}: skipped, {error}")
                continue
            batch = torch.empty((16, *SHAPE), dtype=torch.float16)
            for i in range(options.images):
                batch[i % 16].copy_(read(i))
            laps = []
            for _ in range(3):
                start = time.perf_counter()
                for slot, i in enumerate(order):
                    batch[slot % 16].copy_(read(int(i)))
                laps.append((time.perf_counter() - start) / options.reads)
            assert torch.equal(read(3), torch.from_numpy(records[3]))
            size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
            rows.append((write.__name__, wrote / options.images * 1e3, sorted(laps)[1] * 1e3, size / records.nbytes))
    print(
        f"{'format':20s} {'write ms/image':>15s} {'read ms/image':>14s} {'ratio of reads':>15s} {'bytes/payload':>14s}"
    )
    for name, wrote, lap, size in rows:
        print(f"{name:20s} {wrote:15.2f} {lap:14.3f} {lap / rows[0][2]:15.2f} {size:14.3f}")


if __name__ == "__main__":
    main()
