"""Promotion: the challenger becomes champion if it is shown to be better on the same test images, and not otherwise.

Decisions:

- Compared is what both left behind on the test section: logits by image, paired by the images' contents, under names that tell nothing
  (:mod:`~monai_fpt.registry.pseudonyms`). Versions of before that have no contents are paired by name, which is said. Other images, labels, patients or classes are an error, never a partial comparison.
- One score decides, and it is named before the numbers are seen. "Better" means that the interval of the paired
  difference does not hold 0, and that the p-value agrees.
- The first champion of a name has nobody to be compared with.
- The challenger's version gets tags with what was found, promoted or not. The alias moves in one step of the registry, and only then is
  it written whom the version replaced: a process that dies between the two leaves nothing untrue, and the next call clears up.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

from monai_fpt.metrics import FPTPredictions
from monai_fpt.registry.loading import package_of
from monai_fpt.registry.package import FPTPackage
from monai_fpt.registry.store import find_version, registry_client
from monai_fpt.report import FPTComparison, compare_predictions

__all__ = ["FPTPromotion", "promote_model"]

CHAMPION = "champion"
CHALLENGER = "challenger"
RULES = ("better", "not_worse", "always")
_REPLACED = "fpt.replaced_champion"


@dataclasses.dataclass(frozen=True)
class FPTPromotion:
    """What became of a promotion.

    Attributes:
        name: of the registered model.
        version: the challenger's.
        champion: version of the champion before; None where there was none.
        promoted: whether the challenger is champion now.
        reason: why, in one sentence.
        comparison: of both; None where there was nothing to compare.
    """

    name: str
    version: str
    champion: str | None
    promoted: bool
    reason: str
    comparison: FPTComparison | None

    def __str__(self) -> str:
        table = "" if self.comparison is None else f"{self.comparison}\n"
        return f"{table}{self.reason}"


def promote_model(
    name: str,
    *,
    challenger: str = CHALLENGER,
    tracking_uri: str | None = None,
    primary: str = "auc",
    when: str = "better",
    bootstrap: int = 2000,
    champion_predictions: FPTPredictions | None = None,
    challenger_predictions: FPTPredictions | None = None,
) -> FPTPromotion:
    """Compare a challenger with the champion and promote it if it may be.

    Args:
        name: of the registered model.
        challenger: an alias or a version.
        tracking_uri: the store; ``MLFLOW_TRACKING_URI`` by default.
        primary: the score that decides.
        when: ``"better"``: only where that is shown. ``"not_worse"``: unless the opposite is shown. ``"always"``: compare and
            promote whatever comes out.
        bootstrap: resamples of patients, at least 100.
        champion_predictions: of both on another test set, instead of what was registered; give both or none.
        challenger_predictions: likewise.

    Returns:
        what was found and done.

    Raises:
        ValueError: an unknown rule, no such model, or two models that cannot be compared.
    """
    if when not in RULES:
        raise ValueError(f"when={when!r} is not one of {', '.join(map(repr, RULES))}.")
    if (champion_predictions is None) != (challenger_predictions is None):
        raise ValueError("Predictions of only one of the two are given; give both on the same test set, or none.")
    client = registry_client(tracking_uri)
    new = find_version(
        client, f"models:/{name}/{challenger}" if challenger.isdigit() else f"models:/{name}@{challenger}"
    )
    number = client.get_registered_model(name).aliases.get(CHAMPION)
    if number is None:
        reason = f'Version {new.version} of "{name}" is champion: there was none before, so nothing was compared.'
        return _promoted(client, new, None, reason, None)
    old = client.get_model_version(name, number)
    if str(old.version) == str(new.version):
        _no_longer_challenger(client, new)
        reason = f'Version {new.version} of "{name}" is the champion already.'
        return FPTPromotion(name, str(new.version), str(old.version), False, reason, None)
    comparison = _compared(client, old, new, primary, bootstrap, champion_predictions, challenger_predictions)
    allowed = {"better": ("better",), "not_worse": ("better", "no difference shown")}.get(when, (comparison.verdict,))
    _tag(client, new, old, comparison)
    found = f"{comparison.primary}: {comparison.verdict}"
    if comparison.verdict in allowed:
        reason = f'Version {new.version} of "{name}" is champion now, instead of version {old.version} ({found}).'
        return _promoted(client, new, str(old.version), reason, comparison)
    reason = f'Version {old.version} of "{name}" stays champion ({found}); promote with when="not_worse" or "always" to decide otherwise.'
    return FPTPromotion(name, str(new.version), str(old.version), False, reason, comparison)


def _compared(
    client: Any,
    old: Any,
    new: Any,
    primary: str,
    bootstrap: int,
    champion: FPTPredictions | None,
    challenger: FPTPredictions | None,
) -> FPTComparison:
    with tempfile.TemporaryDirectory(prefix="monai_fpt_") as temporary:
        packages = [package_of(client, one, Path(temporary) / str(one.version)) for one in (old, new)]
        if champion is None or challenger is None:
            champion, challenger = (_tested(package, one) for package, one in zip(packages, (old, new), strict=True))
        aggregate = None if packages[0].report is None else packages[0].report["aggregate"]
    return compare_predictions(champion, challenger, primary=primary, aggregate=aggregate, bootstrap=bootstrap)


def _tested(package: FPTPackage, version: Any) -> FPTPredictions:
    predictions = package.predictions()
    if predictions is None:
        raise ValueError(
            f'Version {version.version} of "{version.name}" was registered without predictions for a test section; '
            "evaluate it and register it again, or give predictions of both."
        )
    return predictions


def _tag(client: Any, new: Any, old: Any, comparison: FPTComparison) -> None:
    one = comparison.differences[comparison.primary]
    p_value = "" if math.isnan(one.p_value) else f", p {one.p_value:.3f}"
    text = (
        f"{comparison.primary} {one.challenger:.3f} against {one.champion:.3f}, difference {one.difference.value:+.3f} "
        f"({one.difference.interval or 'no interval'}{p_value}) on {comparison.images} images of {comparison.patients} patients: {one.verdict}"
        f"{' (images paired by name, their contents are not known)' if comparison.paired_by == 'name' else ''}"
    )
    client.set_model_version_tag(new.name, new.version, "fpt.compared_with_version", str(old.version))
    client.set_model_version_tag(new.name, new.version, "fpt.comparison", text)


def _promoted(client: Any, new: Any, old: str | None, reason: str, comparison: FPTComparison | None) -> FPTPromotion:
    if _REPLACED in client.get_model_version(new.name, new.version).tags:
        client.delete_model_version_tag(new.name, new.version, _REPLACED)  # of an earlier promotion
    client.set_registered_model_alias(new.name, CHAMPION, new.version)
    client.set_model_version_tag(new.name, new.version, _REPLACED, old or "none")
    _no_longer_challenger(client, new)
    return FPTPromotion(new.name, str(new.version), old, True, reason, comparison)


def _no_longer_challenger(client: Any, new: Any) -> None:
    if str(client.get_registered_model(new.name).aliases.get(CHALLENGER)) == str(new.version):
        client.delete_registered_model_alias(new.name, CHALLENGER)
