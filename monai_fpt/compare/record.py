"""FPTArmRun: one arm trained with one seed, as it lies in its folder.

    ARM/seed_0/arm.json                      settings, choices, cost; written last: where it is, the run is finished
    ARM/seed_0/validation_predictions.json   FPTPredictions
    ARM/seed_0/test_predictions.json         likewise

Adapters leave there what a training of the bundle leaves as well. A run with the same settings is taken as it is, one with others is refused.
Version 1 did not keep all settings (:data:`_SINCE_2`); of its records those that are missing are taken to be the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.experiments._write import finite_json, write_json
from monai_fpt.metrics import FPTPredictions, classification_scores

__all__ = ["ARM_FILE", "RECORD_VERSION", "FPTArmRun", "other_settings", "plain_json"]

ARM_FILE = "arm.json"
_FORMAT = "monai_fpt compared arm"
RECORD_VERSION = 2
_SINCE_2 = {"features.positions", "features.norm_eps", "features.backbone_kwargs", "feature_dtype"}


@dataclasses.dataclass(frozen=True)
class FPTArmRun:
    """One training and what it cost.

    Attributes:
        arm: its name.
        seed: of the training.
        predictions: ``"validation"`` and ``"test"``.
        learnable_parameters: numbers that learn.
        training_bytes: of a step; None where no gradient is used.
        seconds: of the training, choosing and predicting included, the cache filled; NaN where a stop hides them.
        best_epoch: from 1; None where there are no epochs.
        chosen: what validation chose; empty where nothing was chosen by it.
        history: of every epoch its metrics.
        settings: what decides whether another run is the same.
    """

    arm: str
    seed: int
    predictions: Mapping[str, FPTPredictions]
    learnable_parameters: int
    training_bytes: int | None
    seconds: float
    best_epoch: int | None
    chosen: Mapping[str, Any]
    history: list[Mapping[str, float]]
    settings: Mapping[str, Any]

    def scores(self, section: str) -> dict[str, float]:
        """All scores of a section."""
        found = self.predictions[section]
        return classification_scores(found.probabilities(), found.labels, task=found.task)

    def save(self, folder: Path) -> None:
        """Write the predictions, then the record."""
        for section, predictions in self.predictions.items():
            predictions.save(folder / f"{section}_predictions.json")
        self.save_record(folder)

    def save_record(self, folder: Path) -> None:
        """Write the record alone, whose predictions are there."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "predictions"}
        content = {"format": _FORMAT, "version": RECORD_VERSION, **own}
        write_json(folder / ARM_FILE, plain_json(content))

    @classmethod
    def load(cls, folder: Path, settings: Mapping[str, Any]) -> FPTArmRun | None:
        """The finished run of a folder; None where there is none.

        Args:
            folder: of the run.
            settings: that it must have.

        Raises:
            FileExistsError: the folder holds a run with other settings.
            ValueError: the record was not written by this package, or by a newer one.
        """
        path = folder / ARM_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("version")
            if content.pop("format") != _FORMAT or version > RECORD_VERSION:
                raise ValueError("another format or a newer version")
            seconds = content.pop("seconds")
            record = {**content, "seconds": float("nan") if seconds is None else float(seconds)}
            before = record["settings"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'compare: "{path}" is no record of an arm ({error}); delete its folder to repeat it.'
            ) from error
        other = other_settings(before, settings, version)
        if other:
            raise FileExistsError(
                f'compare: "{folder}" holds a run with other settings ({", ".join(other[:5])}); choose another run_dir, or delete it.'
            )
        names = ("validation", "test")
        predictions = {name: FPTPredictions.load(folder / f"{name}_predictions.json") for name in names}
        return cls(predictions=predictions, **record)


def other_settings(before: Mapping[str, Any], now: Mapping[str, Any], version: int) -> list[str]:
    """Names of the settings that differ, those within a setting with a dot.

    Args:
        before: as a record has them.
        now: that are wanted.
        version: of the record.

    Example:
        >>> other_settings({"data": "a", "features": {"mean": 1}}, {"data": "b", "features": {"mean": 2}}, 2)
        ['data', 'features.mean']
    """
    before, now = _flat(before), _flat(plain_json(now))
    names = {*before, *now}
    if version < 2:
        names -= _SINCE_2 - set(before)
    return sorted(name for name in names if before.get(name) != now.get(name))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{part}": inner for part, inner in value.items()}
        else:
            found[name] = value
    return found


def plain_json(value: Any) -> Any:
    """The value as JSON gives it back: null for what is no finite number, text for what JSON does not know."""
    return json.loads(json.dumps(finite_json(value), default=str))
