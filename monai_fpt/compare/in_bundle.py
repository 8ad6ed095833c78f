"""A comparison as a run of the bundle: ``configs/compare.json`` over ``configs/train.json``, with every id of the training as an option."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from monai_fpt.compare.comparison import FPTArmComparison
from monai_fpt.compare.run import run_comparison
from monai_fpt.experiments.recipe import train_parser

__all__ = ["compare_in_bundle", "overridden_ids"]

_RUNNING = {"imports", "bundle_root", "initialize", "run", "training", "finalize", "_meta_"}


def overridden_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """Ids of the training configuration whose values differ from the bundle's own.

    Args:
        config: that is being executed, see :func:`monai_fpt.handlers.fpt_executed_config`; ids that the training does not have are passed
            over.
    """
    plain = train_parser({})
    plain.parse()  # as a configuration is that is being executed: macros in place
    before, now = (json.loads(json.dumps(one, default=str).replace("::", "#")) for one in (plain.config, config))
    return {name: now[name] for name in before if name not in _RUNNING and name in now and now[name] != before[name]}


def compare_in_bundle(
    config: Mapping[str, Any],
    arms: str | Sequence[str] | None = None,
    seeds: Sequence[int] | int | str = (0, 1, 2, 3, 4),
    reference: str = "fpt_plus",
    arm_options: Mapping[str, Mapping[str, Any]] | None = None,
    shuffle_labels: bool = False,
    bootstrap: int = 2000,
) -> FPTArmComparison:
    """:func:`~monai_fpt.compare.run_comparison` with what a running configuration overrides; further arguments are its own.

    Args:
        config: that is being executed.
        arms, reference, arm_options, shuffle_labels, bootstrap: of the comparison.
        seeds: numbers, or a text of numbers with commas between.
    """
    numbers = _numbers_in(seeds) if isinstance(seeds, str) else [seeds] if isinstance(seeds, int) else seeds
    return run_comparison(
        overridden_ids(config),
        arms=arms,
        seeds=numbers,
        reference=reference,
        arm_options=arm_options,
        shuffle_labels=shuffle_labels,
        bootstrap=bootstrap,
    )


def _numbers_in(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise ValueError(
            f'compare: "{text}" are no seeds; write whole numbers with commas between, as 0,1,2.'
        ) from None
