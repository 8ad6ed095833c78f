"""PNG, JPEG, TIFF and BMP by Pillow: the pixels on the scale of the file's own black and white.

Decisions:

* The content decides the format, not the suffix, and only the four formats are tried.
* Rows are the first axis. The EXIF or TIFF orientation is applied, so a photograph lies as a viewer shows it.
* 8-bit grey and colour are divided by 255; 16-bit grey by 65535 (12-bit TIFF by 4095) without clipping or stretching:
  a 16-bit file that uses 12 bits stays on its linear scale and is dark, so images stay comparable with each other.
  Pillow decodes 16-bit *colour* to its upper 8 bits.
* Transparency is composited over black: what is hidden by it has no defined colour, and medical backgrounds are
  black. An opaque alpha channel changes nothing.
* CMYK, YCbCr and palettes are converted by Pillow. Colour profiles are not applied.
* Floating-point images, signed integers and those beyond 16 bits have no known white and are refused, as are files of
  several pages of which none is chosen. Of a multi-picture JPEG (MPO: a photograph with previews) the first picture is the photograph.
* ``min_size`` lets the JPEG decoder leave out the finest detail (its DCT gives 1/2, 1/4 or 1/8 of the size at a fraction
  of the cost) where the image is made that small afterwards anyway. The pixels differ by a little from decoding whole.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from monai_fpt.data.errors import unreadable_image
from monai_fpt.data.facts import ImageFacts, ImageOptions
from monai_fpt.data.frames import chosen_frame

__all__ = ["read_raster"]

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # what opens JPEG opens MPO too
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_SAMPLES_PER_PIXEL, _TIFF_PLANAR, _TIFF_SAMPLE_FORMAT = 277, 284, 339
_TIFF_PHOTOMETRIC = 262  # 0: the smallest value is white
_EXIF_MAKE, _EXIF_MODEL, _EXIF_ORIENTATION = 271, 272, 274


def read_raster(path: Path, options: ImageOptions) -> tuple[npt.NDArray[Any], ImageFacts]:
    """Read one PNG, JPEG, TIFF or BMP file.

    Args:
        path: the file.
        options: ``frame`` and ``min_size`` are read.

    Returns:
        (H, W) for grey or (H, W, 3) for colour, uint8 whose white is 255, or float32 in [0, 1]; and the facts, with the
        size of the whole image.

    Raises:
        ImageReadError: the image has several pages of which none is chosen, or a pixel type without a known white.
        Exception: whatever Pillow raises on a broken file; the caller words it.
    """
    with _opened(path) as image:
        _refuse_odd_samples(_tiff_tags(image), path)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        frame = chosen_frame(path, frames, options.frame, "pages or frames")
        if frames > 1:
            image.seek(frame)
        facts = _raster_facts(image, frames, frame)
        if options.min_size is not None and image.format in ("JPEG", "MPO"):
            image.draft(image.mode, (options.min_size, options.min_size))
        image.load()
        upright = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise unreadable_image(
                path,
                "its pixels are floating-point numbers, whose black and white are unknown",
                "save it as 8-bit or 16-bit integers",
            )
        if image.mode.startswith("I"):
            return _sixteen_bit_pixels(np.asarray(upright), _tiff_tags(image), path), facts
        return _eight_bit_pixels(upright), facts


def _opened(path: Path) -> Image.Image:
    """The image, not yet decoded. Pillow maps uncompressed TIFF files into memory and mistakes the size of turned ones;
    from bytes it does not."""
    image = Image.open(path, formats=_FORMATS)
    if image.format != "TIFF":
        return image
    image.close()
    return Image.open(io.BytesIO(path.read_bytes()), formats=_FORMATS)


def _refuse_odd_samples(tags: dict[int, Any], path: Path) -> None:
    """TIFF samples whose black and white Pillow mistakes, or which have none."""
    bits = max(tags.get(_TIFF_BITS_PER_SAMPLE, (8,)))
    kinds = set(np.atleast_1d(tags.get(_TIFF_SAMPLE_FORMAT, 1)).tolist())
    reason = None
    if kinds & {2, 5, 6}:
        reason = "its samples are signed or complex, so their black and white are unknown"
    elif 3 in kinds:
        reason = "its pixels are floating-point numbers, whose black and white are unknown"
    elif bits > 16:
        reason = f"its samples have {bits} bits, so their white is unknown"
    elif bits == 16 and tags.get(_TIFF_PLANAR) == 2 and tags.get(_TIFF_SAMPLES_PER_PIXEL, 1) > 1:
        reason = "its colours are stored in planes of 16 bits, which are not supported"
    if reason is not None:
        raise unreadable_image(path, reason, "save it as 8-bit or 16-bit unsigned integers")


def _raster_facts(image: Any, frames: int, frame: int) -> ImageFacts:
    exif = image.getexif()
    width, height = image.size
    if (
        exif.get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8) and image.format != "TIFF"
    ):  # lies on its side; TIFF's size is turned
        width, height = height, width
    tags = _tiff_tags(image)
    bits = int(
        tags.get(_TIFF_BITS_PER_SAMPLE, (16 if image.mode.startswith("I") else 1 if image.mode == "1" else 8,))[0]
    )
    device = f"{exif.get(_EXIF_MAKE, '')} {exif.get(_EXIF_MODEL, '')}".replace("\0", " ")
    return ImageFacts(
        format="JPEG" if image.format == "MPO" else str(image.format),
        height=height,
        width=width,
        frames=frames,
        frame=frame,
        bits=bits,
        photometric=image.mode,
        device=" ".join(device.split()),
    )


def _tiff_tags(image: Any) -> dict[int, Any]:
    """TIFF tags by number; empty for the other formats."""
    return dict(getattr(image, "tag_v2", {}))


def _eight_bit_pixels(image: Image.Image) -> npt.NDArray[Any]:
    """Pixels of any Pillow mode that has at most 8 bits a sample."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = np.true_divide(np.asarray(image.convert("RGBA")), np.float32(255), dtype=np.float32)
        if image.format == "BMP" and not rgba[..., 3].any():  # the fourth byte of many BMP files is unused, not alpha
            return np.asarray(rgba[..., :3])
        return np.asarray(rgba[..., :3] * rgba[..., 3:])
    wanted = "L" if image.mode in ("1", "L") else "RGB"
    return np.array(image if image.mode == wanted else image.convert(wanted))


def _sixteen_bit_pixels(values: npt.NDArray[Any], tags: dict[int, Any], path: Path) -> npt.NDArray[np.float32]:
    """Grey values of more than 8 bits on the linear scale of their type."""
    bits = tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    white = 4095 if bits == 12 else 65535
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > white:
        raise unreadable_image(
            path,
            f"its values run from {low} to {high}, outside the 16-bit range 0 to {white}",
            "save it as unsigned 16-bit or 8-bit integers",
        )
    scaled = (values.astype(np.float64) / white).astype(np.float32)
    # Pillow inverts "white is zero" for up to 8 bits only.
    unit: npt.NDArray[np.float32] = np.float32(1) - scaled if tags.get(_TIFF_PHOTOMETRIC) == 0 else scaled
    return unit
