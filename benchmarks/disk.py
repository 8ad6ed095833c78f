"""Bytes of one image's features on disk, against float32 of keys and values alone."""

from __future__ import annotations

from benchmarks.cases import Options
from benchmarks.measure import Row
from monai_fpt.features import FeatureSpec
from monai_fpt.features.codec import RecordLayout
from monai_fpt.networks import FPTClassifier

__all__ = ["measure"]


def measure(options: Options) -> list[Row]:
    model = FPTClassifier(options.config())
    blocks, two, heads, tokens, dim = model.backbone.feature_shape
    plain = 4 * blocks * two * heads * tokens * dim / 1e6
    rows = []
    for dtype, reach in (("float16", 3.85), ("int8", 1.955)):
        layout = RecordLayout(FeatureSpec.from_network(model, dtype=dtype))  # type: ignore[arg-type]
        ours = layout.offsets["thumbnail"] / 1e6
        wanted = {"float16": "3.8 MB", "int8": "1.95 MB"}[dtype]
        note = f"{ours:.3f} with scales and token indices; {layout.num_bytes / 1e6:.2f} with the thumbnail"
        rows.append(
            Row(f"features on disk, {dtype}", ours, "MB/image", plain, plain / ours, wanted, ours < reach, note)
        )
    return rows
