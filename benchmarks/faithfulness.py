"""How faithful the maps of ``monai_fpt.visualize`` are, on the quickstart's drawn images, where the place of the sign is known.

    python -m benchmarks.faithfulness [--seeds 3 4 5 6 7] [--scenes 40] [--folder DIR] [--pictures DIR]

Candidates were sorted out on seeds 0 to 2; others are reported. For every seed the quickstart's images are drawn and its
bundle is trained; maps are made for the predicted class of both twins of the first test scenes, right or wrong, and
measured so:

- pointing: share of maps whose strongest token has its centre on the sign (more than half of its full strength);
- inside: share of the heat that lies on the sign;
- one class: the same among images of one predicted class, that which does better with this map and seed. A network can tell
  one of two classes by the absence of the other's sign, and absence has no place;
- deletion, insertion: area under the probability of the class while located tokens leave or enter the cache, strongest first;
- pixels: area while whole patches of the image lose their detail (reduced to the side network's size and back), strongest
  first, and everything is computed anew, backbone included: the model itself is asked, and nothing of the visualize room.

Compared are MONAI's GradCAM on the side network of the same model, how many heads kept each token (selection without
prompts), and a random map. Prints a markdown table, mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from monai.visualize import GradCAM
from torch import Tensor

from monai_fpt.bundle import run_bundle
from monai_fpt.features import FPTModelCard
from monai_fpt.networks import FPTClassifier, TokenFeatures
from monai_fpt.quickstart.images import generate_quickstart_images, quickstart_scene
from monai_fpt.quickstart.run import quickstart_overrides
from monai_fpt.quickstart.settings import MEAN, STD
from monai_fpt.visualize import (
    Relevance,
    attention_alone,
    attention_maps,
    curve_area,
    deletion_curve,
    gradient_attention,
    heat_inside,
    insertion_curve,
    integrated_gradient_attention,
    overlay,
    pointing_game,
)

RELEVANCES: dict[str, Relevance] = {
    "integrated gradient x attention (default)": integrated_gradient_attention,
    "gradient x attention": gradient_attention,
    "attention alone": attention_alone,
}
COLUMNS = (
    "pointing",
    "one class",
    "inside",
    "one class",
    "deletion",
    "insertion",
    "pixels",
)
PIXEL_STEPS = 8


def trained_model(folder: Path, seed: int) -> FPTClassifier:
    """The quickstart's model of a seed; trained where the folder does not hold it."""
    if not (folder / "run" / "model.pt").exists():
        generate_quickstart_images(folder / "images", seed=seed)
        with contextlib.redirect_stdout(io.StringIO()):
            run_bundle("train", quickstart_overrides(folder, seed))
    model = FPTClassifier(FPTModelCard.load(folder / "run" / "model.json").network)
    model.load_state_dict(torch.load(folder / "run" / "model.pt", weights_only=True))
    return model.eval()


def normalized(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (image - mean) / std


def test_images(seed: int, scenes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 3, 512, 512) in [0, 1], labels (B), and where the sign is (B, 512, 512)."""
    drawn = [quickstart_scene("test", number, seed) for number in range(scenes)]
    pixels = np.stack([image for scene in drawn for image in (scene.fibres, scene.specks)])
    truth = np.stack([scene.strength > 0.5 for scene in drawn for _ in range(2)])
    labels = torch.arange(2).repeat(scenes)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, labels, torch.from_numpy(truth)


def side_cam(model: FPTClassifier, side_image: Tensor, seen: TokenFeatures, target: Tensor, grid: int) -> Tensor:
    """MONAI's GradCAM at the spatial map of the side network, each of its places spread over the tokens it covers."""
    cam = GradCAM(model, "side.spatial")
    maps = [
        cam.compute_map(side_image[i : i + 1], class_idx=int(target[i]), features=seen.features[i : i + 1]).detach()
        for i in range(len(side_image))
    ]
    return F.interpolate(torch.cat(maps), size=(grid, grid), mode="nearest-exact")[:, 0]


@torch.no_grad()
def pixel_area(model: FPTClassifier, images: Tensor, heat: Tensor, target: Tensor) -> Tensor:
    """Area (B) under the probability while patches lose their detail, strongest first; the whole model, anew."""
    size, grid = images.shape[-1], heat.shape[-1]
    small = F.interpolate(images, size=model.side_size, mode="bilinear", antialias=True)
    coarse = F.interpolate(small, size=size, mode="bicubic").clamp(0, 1)
    rank = heat.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1).view(-1, 1, grid, grid)
    rank = F.interpolate(rank.float(), size=size, mode="nearest-exact")
    curve = []
    for step in range(PIXEL_STEPS + 1):
        shown = normalized(torch.where(rank < step / PIXEL_STEPS * grid**2, coarse, images))
        logits = torch.cat([model(part) for part in shown.split(16)])
        curve.append(logits.softmax(dim=1).gather(1, target.unsqueeze(1)))
    return curve_area(torch.cat(curve, dim=1))


def better_class(values: Tensor, target: Tensor) -> Tensor:
    """The higher of the classes' means."""
    return torch.stack([values[target == number].mean() for number in target.unique()]).max()


def measure(model: FPTClassifier, seed: int, scenes: int, pictures: Path | None) -> dict[str, list[float]]:
    """Rows of the table for one seed."""
    images, labels, truth = test_images(seed, scenes)
    with torch.no_grad():
        parts = [model.backbone(normalized(part)) for part in images.split(16)]
        seen = TokenFeatures(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        side_image = model.reduce_image(normalized(images))
        target = model(side_image, seen.features).argmax(dim=1)

    def heat_by(relevance: Relevance) -> Callable[[], Tensor]:
        return lambda: attention_maps(model, *seen, side_image, target, relevance).heat()[:, 0]

    grid = model.backbone.image_size // model.backbone.patch_size
    random = torch.rand(len(images), grid, grid, generator=torch.Generator().manual_seed(seed))
    makers: dict[str, Callable[[], Tensor]] = {
        **{name: heat_by(relevance) for name, relevance in RELEVANCES.items()},
        "GradCAM of the side network": lambda: side_cam(model, side_image, seen, target, grid),
        "heads that kept the token": lambda: attention_maps(model, *seen, side_image, 0).located().float(),
        "random": lambda: random,
    }
    rows = {}
    for name, make in makers.items():
        heat = make()
        if pictures is not None:
            for index in range(4):
                shown = overlay(images[index], heat[index] / heat[index].max().clamp(min=1e-12))
                shown.save(pictures / f"seed{seed}_image{index}_{name.replace(' ', '_')}.png")
        heat = heat + 1e-6 * heat.amax((1, 2), True).clamp(min=1e-6) * random  # ties are broken by chance
        cache = (model, seen.features, seen.indices, side_image, heat, target)
        hit, inside = pointing_game(heat, truth).float(), heat_inside(heat, truth)
        rows[name] = [
            *(float(figure) for values in (hit, inside) for figure in (values.mean(), better_class(values, target))),
            float(curve_area(deletion_curve(*cache)).mean()),
            float(curve_area(insertion_curve(*cache)).mean()),
            float(pixel_area(model, images, heat, target).mean()),
        ]
    accuracy = float((target == labels).float().mean())
    print(
        f"seed {seed}: {len(images)} images, accuracy {accuracy:.3f}, sign on {truth.float().mean():.3f} of the pixels",
        flush=True,
    )
    for name, values in rows.items():
        print(
            f"  {name:42s}" + "".join(f"{column} {value:.3f}  " for column, value in zip(COLUMNS, values, strict=True)),
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5, 6, 7], help="of images and trainings")
    parser.add_argument("--scenes", type=int, default=40, help="test scenes of each, at most 80; two images a scene")
    parser.add_argument("--folder", type=Path, help="where images and runs are kept; a temporary folder otherwise")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of the first images")
    options = parser.parse_args()
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            model = trained_model((options.folder or Path(temporary)) / f"seed{seed}", seed)
            results.append(measure(model, seed, options.scenes, options.pictures))
    print("\n| map | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    for name in results[0]:
        values = np.array([rows[name] for rows in results])
        cells = [
            f"{mean:.3f} ± {std:.3f}"
            for mean, std in zip(values.mean(0), values.std(0, ddof=min(1, len(values) - 1)), strict=True)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
