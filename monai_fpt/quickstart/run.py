"""The quickstart: images are drawn, then the real bundle extracts, trains, tests and tracks, once with features and
once without.

Nothing here is special to the quickstart but the images and the settings; it is what ``monai-fpt train`` does with a
user's folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from monai_fpt.bundle import bundle_config, run_bundle
from monai_fpt.quickstart.images import generate_quickstart_images
from monai_fpt.quickstart.settings import BATCH_SIZE, EPOCHS, LEARNING_RATE, MEAN, NETWORK, STD

__all__ = ["quickstart_overrides", "run_quickstart"]


def quickstart_overrides(folder: Path, seed: int = 0) -> dict[str, Any]:
    """What the quickstart sets differently from the bundle's defaults.

    Args:
        folder: of images, cache and runs.
        seed: of the training.
    """
    own_ids = ("method", "backbone", "backbone_weights", "image_size")
    nested = {f"network_config#{k}": v for k, v in NETWORK.items() if k not in (*own_ids, "num_classes")}
    return {
        "dataset_dir": str(folder / "images"),
        "run_dir": str(folder / "run"),
        "cache_dir": str(folder / "features"),
        **{k: NETWORK[k] for k in own_ids},
        **nested,
        "mean": list(MEAN),
        "std": list(STD),
        "max_epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "extract_batch_size": 8,
        "experiment": "quickstart",
        "seed": seed,
    }


def run_quickstart(folder: str | Path = "quickstart_run", seed: int = 0) -> dict[str, float]:
    """Draw images, train FPT+ and the same side network without features, and print what came out.

    Args:
        folder: new folder for everything.
        seed: of images and training.

    Returns:
        test AUC of both: ``{"fpt_plus": ..., "side_network_alone": ...}``.

    Raises:
        FileExistsError: the folder holds a quickstart already.
    """
    started = time.monotonic()
    folder = Path(folder).absolute()
    if (folder / "run").exists():
        raise FileExistsError(f'"{folder}" holds a quickstart already; delete it, or give another --folder.')
    print(f"1/4 Drawing high-resolution images whose class shows only in details ({folder / 'images'})", flush=True)
    generate_quickstart_images(folder / "images", seed=seed)
    overrides = quickstart_overrides(folder, seed)

    print("2/4 FPT+: a frozen ViT reads each image once at 512 px; a side network learns from its features", flush=True)
    with_features = run_bundle("train", overrides)
    print("3/4 The same side network without features, on the same small images", flush=True)
    store = with_features.parser.get_parsed_content("tracker").tracking_uri
    alone = overrides | {"run_dir": str(folder / "run_without_features"), "use_features": False, "tracking_uri": store}
    without_features = run_bundle("train", alone)

    results = {"fpt_plus": _test_metrics(with_features), "side_network_alone": _test_metrics(without_features)}
    learnable, frozen = with_features.parser.get_parsed_content("network_def").num_parameters()
    num_test = len(with_features.parser.get_parsed_content("data").test)
    print(f"4/4 Done in {time.monotonic() - started:.0f} s\n")
    print(f"{'on ' + str(num_test) + ' test images':34s} {'AUC':>7s} {'accuracy':>9s}")
    for name, label in (
        ("fpt_plus", "FPT+ (features of 512 px)"),
        ("side_network_alone", "side network alone (128 px)"),
    ):
        print(f"{label:34s} {results[name]['auc']:7.3f} {results[name]['accuracy']:9.3f}")
    print(
        f"\n{learnable:,} parameters learned, {frozen:,} stayed frozen (this backbone is tiny; on ViT-B/16 it is 0.9 M of 87 M)."
    )
    print(f"model        {folder / 'run' / 'model.pt'}")
    print(f"predictions  {folder / 'run' / 'test_predictions.csv'}")
    print(f'tracking     mlflow ui --backend-store-uri "{store}"')
    print(
        "your images  python -m monai.bundle run training "
        + f'--config_file "{bundle_config("train")}" --dataset_dir FOLDER --run_dir RUN'
    )
    return {name: float(metrics["auc"]) for name, metrics in results.items()}


def _test_metrics(workflow: Any) -> dict[str, float]:
    metrics: dict[str, float] = workflow.parser.get_parsed_content("test#evaluator").state.metrics
    return metrics
