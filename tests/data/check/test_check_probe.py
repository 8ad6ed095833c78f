"""One reading of an image gives its identity and its statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from check_toys import picture, save
from PIL import Image

from monai_fpt.data.check.probe import ImageProbe, probe_image, probe_images
from monai_fpt.data.facts import ImageOptions


def probe(path: Path, size: int = 32, **item: object) -> ImageProbe:
    return probe_image({"image": str(path), "key": path.name, **item}, ImageOptions(), size)


def test_statistics_are_those_of_the_pixels_at_their_own_size(tmp_path: Path) -> None:
    pixels = picture(0, 32, 32)
    pixels[:4] = 0
    pixels[4:12] = 255
    found = probe(save(tmp_path / "a.png", pixels))

    unit = pixels / 255
    assert found.error == ""
    assert found.mean == pytest.approx(unit.mean(axis=(0, 1)), abs=1e-6)
    assert found.mean_square == pytest.approx((unit**2).mean(axis=(0, 1)), abs=1e-6)
    assert (found.black, found.white, found.smallest, found.largest) == pytest.approx((4 / 32, 8 / 32, 0, 1))
    assert (found.low, found.high) == pytest.approx(np.quantile(unit.mean(axis=2), (0.005, 0.995)), abs=1e-6)
    assert found.colour and not found.constant
    assert (found.facts.format, found.facts.height, found.facts.width) == ("PNG", 32, 32)


def test_statistics_are_those_of_pillow_at_another_size(tmp_path: Path) -> None:
    pixels = picture(1, 90, 120)
    found = probe(save(tmp_path / "a.png", pixels), size=48)
    small = np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR)) / 255

    assert found.mean == pytest.approx(small.mean(axis=(0, 1)), abs=2e-3)
    assert found.mean_square == pytest.approx((small**2).mean(axis=(0, 1)), abs=2e-3)


def test_one_picture_in_several_containers_has_one_identity(tmp_path: Path) -> None:
    grey = picture(2)[..., 0]
    files = [
        save(tmp_path / "a.png", grey),
        save(tmp_path / "b.bmp", grey),
        save(tmp_path / "c.tif", np.stack([grey] * 3, axis=-1)),
    ]
    probes = [probe(path) for path in files]

    assert len({p.pixel_sha for p in probes}) == 1 and len({p.file_sha for p in probes}) == 3
    assert not any(p.colour for p in probes)


@pytest.mark.parametrize("change", ["one value", "turned to another shape"])
def test_another_picture_has_another_identity(tmp_path: Path, change: str) -> None:
    pixels = picture(3)
    other = pixels.copy()
    if change == "one value":
        other[30, 40, 1] += 1
    else:
        other = other.reshape(80, 60, 3)

    assert probe(save(tmp_path / "a.png", pixels)).pixel_sha != probe(save(tmp_path / "b.png", other)).pixel_sha


def test_frames_of_a_file_are_pictures_of_their_own(tmp_path: Path) -> None:
    first, second = (Image.fromarray(picture(seed)) for seed in (4, 5))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    single = probe(save(tmp_path / "b.png", picture(5)))
    frames = [probe(tmp_path / "a.tif", frame=frame) for frame in (0, 1)]

    assert frames[0].pixel_sha != frames[1].pixel_sha == single.pixel_sha


def test_rim_tells_white_around_from_white_within(tmp_path: Path) -> None:
    around, within = np.full((64, 64), 255, np.uint8), picture(6, 64, 64)[..., 0]
    around[8:-8, 8:-8], within[8:-8, 8:-8] = within[8:-8, 8:-8], 255

    assert probe(save(tmp_path / "around.png", around)).white_rim == 1
    assert probe(save(tmp_path / "within.png", within)).white_rim == 0


@pytest.mark.parametrize("content", [b"", b"\x89PNG broken", None], ids=["empty", "broken", "missing"])
def test_what_cannot_be_read_is_a_result(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    found = probe(tmp_path / "a.png")

    assert found.error and "\n" not in found.error
    assert found.pixel_sha == ""


def test_a_coloured_area_of_one_value_is_constant(tmp_path: Path) -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 200

    assert probe(save(tmp_path / "a.png", red)).constant


def test_processes_give_what_this_process_gives(tmp_path: Path) -> None:
    items = [{"image": str(save(tmp_path / f"{seed}.png", picture(seed))), "key": f"{seed}.png"} for seed in range(11)]
    alone = probe_images(items, ImageOptions(), 32, progress=False)
    together = probe_images(items, ImageOptions(), 32, num_workers=2, progress=False)

    assert [p.key for p in together] == [item["key"] for item in items]
    assert [(p.pixel_sha, p.mean, p.facts) for p in together] == [(p.pixel_sha, p.mean, p.facts) for p in alone]
    assert all(np.array_equal(a.look, b.look) for a, b in zip(alone, together, strict=True))
