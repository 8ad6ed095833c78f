"""What must be the same for every arm of a comparison, what decides whether an arm's result is the one asked for, and whose folder it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.compare.arms import FPTArmInfo
from monai_fpt.compare.direct import augmentation_of, settings_of
from monai_fpt.compare.record import RECORD_VERSION, other_settings, plain_json
from monai_fpt.experiments._write import write_json
from monai_fpt.experiments.recipe import FPTRecipe

__all__ = ["arm_settings", "claim_folder", "shared_settings"]

_FILE = "comparison.json"
_FORMAT = "monai_fpt comparison settings"
_OF_FEATURES = (  # of the cache; which tokens are kept for FPT+, and how many, no probe depends on
    *("backbone", "backbone_fingerprint", "image_size", "mean", "std", "preprocessing", "compute_dtype"),
    *("positions", "norm_eps"),
)


def shared_settings(recipe: FPTRecipe, shuffle_labels: bool) -> dict[str, Any]:
    """What must be the same for every arm of a comparison."""
    value = recipe.parser({"data": recipe.data}).get_parsed_content
    spec = recipe.store.spec
    features = {name: plain_json(getattr(spec, name)) for name in _OF_FEATURES}
    return {
        "data": recipe.data.digest,
        "labels_shuffled": shuffle_labels,
        "class_weights": str(value("class_weights") or "equal"),
        "batch_size": int(value("batch_size")),
        "features": features | {"backbone_kwargs": plain_json(dict(value("network_config").backbone_kwargs))},
    }


def arm_settings(info: FPTArmInfo, shared: Mapping[str, Any], recipe: FPTRecipe) -> dict[str, Any]:
    """What decides whether a finished run is the one asked for. Of adapters the run folder's own configuration decides too."""
    own = dict(info.overrides) if info.kind == "adapter" else settings_of(info)
    if info.kind == "tuning":
        own |= augmentation_of(recipe)
    stored = {"feature_dtype": recipe.store.spec.dtype} if info.tokens != "none" else {}
    return {**shared, **stored, "arm": info.name, "options": plain_json(own)}


def claim_folder(run_dir: Path, shared: Mapping[str, Any]) -> None:
    """Say whose folder it is, or find that it is this comparison's; an older record gets what it lacked.

    Raises:
        FileExistsError: it is another's.
    """
    path = run_dir / _FILE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = other_settings(before.get("settings", {}), shared, int(before.get("version", 1)))
        if other:
            raise FileExistsError(
                f'compare: "{run_dir}" holds a comparison with other settings ({", ".join(other)}); choose another run_dir.'
            )
        if int(before.get("version", 1)) >= RECORD_VERSION:
            return
    elsewhere = ("model.pt", "last.pt", "cross_validation.json", "search.json")
    alien = [name for name in elsewhere if (run_dir / name).exists()]
    if alien:
        raise FileExistsError(f'compare: "{run_dir}" holds something else ({alien[0]}); choose another run_dir.')
    write_json(path, {"format": _FORMAT, "version": RECORD_VERSION, "settings": plain_json(shared)})
