"""What can be compared, by name: one line each, where it comes from, and what it needs.

Three kinds. Adapters are trained by the recipe itself with some ids of its own (:mod:`monai_fpt.compare.adapters`). Probes read cached
tokens. Tuning arms change the backbone's weights and read images (:mod:`monai_fpt.compare.tuning`, extra ``compare``).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from monai_fpt.compare.arm import FPTArm
from monai_fpt.compare.attentive import FPTAttentiveProbe
from monai_fpt.compare.knn import FPTNeighbours
from monai_fpt.compare.logistic import FPTLinearProbe
from monai_fpt.compare.mil import FPTAttentionMIL
from monai_fpt.features import StoredTokens

__all__ = ["ARM_GROUPS", "FPT_ARMS", "FPTArmInfo", "named_arms", "require_packages", "tuning_arm", "with_options"]

ArmKind = Literal["adapter", "probe", "tuning"]


@dataclasses.dataclass(frozen=True)
class FPTArmInfo:
    """One arm.

    Attributes:
        name: of its folder and its rows.
        line: what it is.
        source: paper or library.
        kind: ``"adapter"``, ``"probe"`` or ``"tuning"``.
        tokens: which cached tokens of the last layer it reads.
        seeded: whether a seed changes anything; what it does not change is computed once.
        arm: of probes; None for the other kinds.
        overrides: ids of the configuration that an adapter has of its own.
        preset: configuration that an adapter has of its own, by name; its ids win over those given.
        package: optional package that it needs.

    Raises:
        ValueError: a name that is no name of a folder, or a probe without a function.
    """

    name: str
    line: str
    source: str
    kind: ArmKind
    tokens: StoredTokens = "none"
    seeded: bool = True
    arm: FPTArm | None = None
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preset: str | None = None
    package: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f'compare: "{self.name}" is no name of an arm; use letters, digits, "_", "-" and ".".')
        if self.kind == "probe" and self.arm is None:
            raise ValueError(f'compare: the arm "{self.name}" has no function; give it as arm.')


def _tuning(name: str, line: str, source: str, package: str | None = None) -> FPTArmInfo:
    return FPTArmInfo(name, line, source, "tuning", package=package)


_ALL = (
    FPTArmInfo("fpt_plus", "FPT+, the recipe as given", "Huang et al. 2025, arXiv 2408.02426", "adapter"),
    FPTArmInfo(
        "fpt_plus_stable",
        "FPT+, the preset stable",
        "docs/results.md",
        "adapter",
        preset="stable",
    ),
    FPTArmInfo(
        "fpt", "FPT, its predecessor", "Huang et al. 2024, arXiv 2403.07576", "adapter", overrides={"method": "fpt"}
    ),
    FPTArmInfo(
        "side_only",
        "the side network alone, without features",
        "ablation of the paper",
        "adapter",
        overrides={"use_features": False},
    ),
    FPTArmInfo(
        "knn",
        "nearest neighbours on cached tokens",
        "scikit-learn; Caron et al. 2021, arXiv 2104.14294",
        "probe",
        tokens="pooled",
        seeded=False,
        arm=FPTNeighbours(),
    ),
    FPTArmInfo(
        "logistic_regression",
        "logistic regression on cached tokens",
        "scikit-learn; Radford et al. 2021, arXiv 2103.00020",
        "probe",
        tokens="pooled",
        seeded=False,
        arm=FPTLinearProbe(),
    ),
    FPTArmInfo(
        "attentive_probe",
        "one query attends to all cached tokens",
        "timm AttentionPoolLatent; Bardes et al. 2024, arXiv 2404.08471",
        "probe",
        tokens="all",
        arm=FPTAttentiveProbe(),
    ),
    FPTArmInfo(
        "attention_mil",
        "gated attention over cached patch tokens",
        "Ilse et al. 2018, arXiv 1802.04712",
        "probe",
        tokens="all",
        arm=FPTAttentionMIL(),
    ),
    _tuning("lora", "LoRA on the backbone", "peft; Hu et al. 2022, arXiv 2106.09685", "peft"),
    _tuning("dora", "DoRA on the backbone", "peft; Liu et al. 2024, arXiv 2402.09353", "peft"),
    _tuning("bitfit", "the backbone's biases", "Ben Zaken et al. 2022, arXiv 2106.10199"),
    _tuning("last_block", "the backbone's last block", "He et al. 2022 (MAE), arXiv 2111.06377, section 4.3"),
    _tuning("full_fine_tuning", "all of the backbone", "timm; SDPA, bfloat16, a checkpoint a block"),
)

FPT_ARMS: dict[str, FPTArmInfo] = {info.name: info for info in _ALL}
"""Every arm that has a name of its own; ablations are made in :mod:`monai_fpt.compare.ablation`."""

ARM_GROUPS: dict[str, tuple[str, ...]] = {
    "default": tuple(info.name for info in _ALL if info.kind != "tuning"),
    "adapters": tuple(info.name for info in _ALL if info.kind == "adapter"),
    "probes": tuple(info.name for info in _ALL if info.kind == "probe"),
    "tuning": tuple(info.name for info in _ALL if info.kind == "tuning"),
    "all": tuple(FPT_ARMS),
}
"""Names for several at once; ``"ablation"`` is one more."""


def named_arms(names: str | Sequence[str | FPTArmInfo] | None, ablations: Mapping[str, FPTArmInfo]) -> list[FPTArmInfo]:
    """Arms by name, each once, in the order of the names.

    Args:
        names: arms and groups; one text may name several with commas between. An arm of the caller's own comes as :class:`FPTArmInfo`.
            None is the group ``"default"``.
        ablations: arms of the ablation, which have names too.

    Raises:
        ValueError: an unknown name.
    """
    words = ["default"] if names is None else names.split(",") if isinstance(names, str) else list(names)
    found: dict[str, FPTArmInfo] = {}
    for word in (one.strip() if isinstance(one, str) else one for one in words):
        if isinstance(word, FPTArmInfo):
            found[word.name] = word
        elif word in ARM_GROUPS:
            found |= {name: FPT_ARMS[name] for name in ARM_GROUPS[word]}
        elif word == "ablation":
            found |= {"fpt_plus": FPT_ARMS["fpt_plus"]} | dict(ablations)
        elif word in FPT_ARMS or word in ablations:
            found[word] = FPT_ARMS[word] if word in FPT_ARMS else ablations[word]
        else:
            known = ", ".join([*FPT_ARMS, *(name for name in ablations if name not in FPT_ARMS)])
            raise ValueError(
                f'compare: there is no arm "{word}"; there are the groups {", ".join([*ARM_GROUPS, "ablation"])} and the arms {known}.'
            )
    if not found:
        raise ValueError("compare: arms is empty; leave it out, or name some with commas between.")
    return list(found.values())


def require_packages(infos: Sequence[FPTArmInfo]) -> None:
    """Refuse arms whose packages are missing before anything is computed.

    Raises:
        ImportError: names arms and command.
    """
    missing = [info for info in infos if info.package is not None and importlib.util.find_spec(info.package) is None]
    if missing:
        names = ", ".join(info.name for info in missing)
        raise ImportError(
            f'compare: {names} need the package {missing[0].package}, which is not installed; run: pip install "monai-fpt[compare]"'
        )


def tuning_arm(name: str) -> FPTArm:
    """The arm that tunes a backbone."""
    from monai_fpt.compare.tuning import TUNING_ARMS  # timm's and peft's part of the room, when it is asked for

    arm: FPTArm = TUNING_ARMS[name]
    return arm


def with_options(info: FPTArmInfo, options: Mapping[str, Any]) -> FPTArmInfo:
    """The arm with some of its settings changed.

    Args:
        info: a probe or tuning arm whose settings are fields of a dataclass; of an adapter, options are ids of the configuration.
        options: settings and their values.

    Raises:
        ValueError: an unknown setting.
    """
    if not options:
        return info
    if info.kind == "adapter":
        return dataclasses.replace(info, overrides={**info.overrides, **options})
    arm: Any = tuning_arm(info.name) if info.arm is None else info.arm
    known = [field.name for field in dataclasses.fields(arm)] if dataclasses.is_dataclass(arm) else []
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f'compare: the arm "{info.name}" has no {", ".join(unknown)}; it has {", ".join(known) or "no settings"}.'
        )
    try:
        return dataclasses.replace(info, arm=dataclasses.replace(arm, **options))
    except TypeError as error:  # an arm of the caller's own may check nothing
        raise ValueError(f'compare: the arm "{info.name}" cannot take {dict(options)} ({error}).') from error
