"""Options of a comparison, checked before anything is read: what is misspelt or would change nothing is refused."""

from __future__ import annotations

import json
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from monai_fpt.compare.adapters import arm_configuration
from monai_fpt.compare.arms import FPT_ARMS, FPTArmInfo, with_options
from monai_fpt.experiments.recipe import train_parser
from monai_fpt.experiments.runs import ENGINES
from monai_fpt.handlers import fpt_root_cause

__all__ = ["USUAL_REFERENCE", "chosen_reference", "require_arm_options", "require_numbers", "require_seeds"]

USUAL_REFERENCE = "fpt_plus"
_SET_BY_COMPARISON = {
    *("seed", "split_seed", "report", "dataset_dir", "data_list", "dataset_name", "run_dir", "cache_dir", "tokens"),
    *("experiment", "run_name", "tracking_uri", "parent_run", "resume"),
}


def require_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds as whole numbers.

    Raises:
        ValueError: none, one twice, or what is no whole number of at least 0.
    """
    found = tuple(seeds)
    if not all(isinstance(seed, numbers.Integral) and not isinstance(seed, bool) and seed >= 0 for seed in found):
        raise ValueError(f"compare: seeds {list(found)} must be whole numbers of at least 0.")
    if not found or len(set(found)) != len(found):
        raise ValueError(f"compare: seeds {list(found)} must be different numbers, at least one.")
    return tuple(int(seed) for seed in found)


def require_numbers(bootstrap: int, level: float, engine: str, at_once: int) -> None:
    """Refuse options of the whole comparison that cannot be.

    Raises:
        ValueError: says which.
    """
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, int) or bootstrap < 100:
        raise ValueError(f"compare: bootstrap={bootstrap!r} resamples can decide nothing; draw at least 100.")
    if not 0 < level < 1:
        raise ValueError(f"compare: level={level} must lie between 0 and 1; 0.95 is usual.")
    if engine not in ENGINES:
        raise ValueError(f"compare: engine={engine!r} is not one of {', '.join(map(repr, ENGINES))}.")
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise ValueError(f"compare: at_once={at_once!r} must be a whole number of at least 1.")


def chosen_reference(reference: str, names: Sequence[str], skipped: Collection[str] = ()) -> str:
    """The arm that others are compared with: the one named; the first, where the usual one is not among the arms.

    Raises:
        ValueError: another name that is not among the arms.
    """
    if reference in names:
        return reference
    if reference != USUAL_REFERENCE:
        why = "is left out here" if reference in skipped else "is not among the arms"
        raise ValueError(f'compare: the reference "{reference}" {why}; name one of {", ".join(names)}.')
    return names[0]


def require_arm_options(
    infos: Sequence[FPTArmInfo],
    arm_options: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Any],
    configs: Sequence[str],
) -> None:
    """Refuse settings of an arm that it does not have, cannot take, or would not heed.

    Args:
        infos: the arms that were named.
        arm_options: arm to its settings.
        overrides, configs: of the recipe.

    Raises:
        ValueError: says which, and what there is.
    """
    known = {info.name: info for info in infos}
    unknown = sorted(set(arm_options) - set(known))
    if unknown:
        raise ValueError(
            f"compare: arm_options names {', '.join(unknown)}, which {'are' if len(unknown) > 1 else 'is'} not among the arms."
        )
    _require_network(overrides, configs)
    for name, options in arm_options.items():
        if not isinstance(options, Mapping):
            told = json.dumps({name: {"setting": "value"}})
            raise ValueError(f'compare: arm_options of "{name}" are {options!r}; give settings by name, as {told}.')
        info = with_options(known[name], options)
        if info.kind != "adapter" or not options:
            continue
        deaf = sorted(one for one in options if one.replace("::", "#").partition("#")[0] in _SET_BY_COMPARISON)
        if deaf:
            raise ValueError(
                f'compare: arm_options of "{name}" sets {", ".join(deaf)}, which the comparison sets itself; leave it out.'
            )
        try:
            own, files = arm_configuration(info, overrides, configs)
            train_parser(options, files)
            if name in FPT_ARMS:  # what an ablation changes is known when the backbone is
                _require_network(own, files)
        except ValueError as error:
            raise ValueError(f'compare: arm_options of "{name}": {error}') from None


def _require_network(overrides: Mapping[str, Any], configs: Sequence[str]) -> None:
    """Refuse settings of a network that cannot be. How many classes there are is known only with the data, so two stand for them.

    Raises:
        ValueError: says why.
    """
    parser = train_parser(overrides, configs)
    parser["num_classes"] = 2
    try:
        parser.get_parsed_content("network_config")
    except RuntimeError as error:  # MONAI's, around what the network says
        raise ValueError(str(fpt_root_cause(error) or error)) from error
