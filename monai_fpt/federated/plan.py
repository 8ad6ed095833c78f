"""FPTFederation: what all sites agree on before anything is learnt.

Averaging is silent. Sites whose classes stand in another order, whose images are read otherwise or whose backbone is another one still send
tensors of the same shapes, and the mean of them is a model of nothing. A federation is therefore planned first: a folder with the model card
(network, features with the backbone's fingerprint, classes, reading of images), the common settings of the training and the weights to begin
with. Every site holds its own card against it before it extracts a single feature.

The plan is made without data. What is the site's own business (where images, cache and backbone lie, on what it computes, where it is
tracked) is not in it: a federation cannot tell a hospital which files to read.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.features import FeatureSpec, FPTModelCard
from monai_fpt.handlers._files import replace_file_content

__all__ = ["SITE_SETTINGS", "FPTFederation", "fpt_require_agreed", "train_configs"]

SITE_SETTINGS = (
    "dataset_dir",
    "data_list",
    "dataset_name",
    "dataset_options",
    "group_column",
    "split_seed",
    "subgroups",
    "run_dir",
    "cache_dir",
    "backbone_weights",
    "device",
    "num_workers",
    "extract_batch_size",
    "skip_unreadable",
    "track",
    "tracking_uri",
    "experiment",
    "run_name",
    "system_metrics",
)
"""The ids of ``train.json`` that a site decides by itself."""
_FORMAT = "monai_fpt federation"
_PLAN, _CARD, _WEIGHTS = "federation.json", "model.json", "initial.pt"
_NOT_PLANNED = (  # ids, whole or in part, that are given by name, are a site's own, or say what it reads and where it writes
    *(
        "max_epochs",
        "resume",
        "classes",
        "federation",
        "imports",
        "bundle_root",
        "output_dir",
        "data",
        "store",
        "spec",
        "extraction",
    ),
    *(
        "views",
        "side_loading",
        "card",
        "tracker",
        "test",
        "best_validation",
        "initialize",
        "run",
        "training",
        "finalize",
    ),
    *(
        "train#dataset",
        "train#dataloader",
        "train#handlers",
        "validate#dataset",
        "validate#dataloader",
        "validate#handlers",
    ),
    *(s for s in SITE_SETTINGS if s != "backbone_weights"),
)


def train_configs() -> list[str]:
    """The configuration files of a site's training, relative to the bundle."""
    return ["configs/train.json", "configs/federated.json"]


@dataclasses.dataclass(frozen=True)
class FPTFederation:
    """The plan of a federation.

    Attributes:
        card: of the model that comes out; its ``data_digest`` is empty.
        weights: what every site begins with: an adapter and the identity of its backbone. Empty on a site, which receives them.
        rounds: how often weights are averaged.
        local_epochs: epochs of every site between two averages.
        settings: ids of ``train.json`` and their values, the same for all sites.

    Raises:
        ValueError: rounds or epochs below one, or settings that are a site's own business.
    """

    card: FPTModelCard
    weights: Mapping[str, Tensor]
    rounds: int
    local_epochs: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.local_epochs < 1:
            raise ValueError(
                f"A federation needs at least one round and one local epoch, not {self.rounds} and {self.local_epochs}."
            )
        for name in self.settings:
            parts = name.replace("::", "#").lstrip("+").split("#")
            if any("#".join(parts[:length]) in _NOT_PLANNED for length in (1, 2)):
                raise ValueError(
                    f'"{name}" cannot be a common setting of a federation; rounds, local_epochs and classes are given by name, and what '
                    "lies on a site is set there."
                )

    @classmethod
    def plan(
        cls,
        classes: Sequence[str],
        rounds: int,
        local_epochs: int = 1,
        settings: Mapping[str, Any] | None = None,
        task: str = "multiclass",
        ordered: bool = False,
    ) -> FPTFederation:
        """Plan a federation: needs the backbone's weights, but no data.

        Args:
            classes: names in the order of the logits.
            rounds: how often weights are averaged.
            local_epochs: epochs between two averages.
            settings: ids of ``train.json`` (``backbone``, ``image_size``, ``learning_rate``, ``network_config#side_size``, ...).
            task: ``"multiclass"`` or ``"multilabel"``.
            ordered: whether the order of the classes means something.

        Raises:
            ValueError: settings that do not fit, or an id that the bundle does not have.
        """
        names = tuple(str(name) for name in classes)
        if isinstance(classes, str) or len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"classes={classes!r} must be at least two different names.")
        chosen = dict(settings or {})
        parser = ConfigParser()
        parser.read_config([str(fpt_bundle_root() / name) for name in train_configs()])
        for name, value in chosen.items():
            if name.replace("::", "#").split("#")[0] not in parser.config:
                raise ValueError(f'The training configuration has no "{name}"; see bundles/fpt_classification/docs.')
            parser[name] = value
        parser["task"], parser["num_classes"] = task, len(names)
        monai.utils.set_determinism(seed=int(parser["seed"]))
        network = parser.get_parsed_content("network_def")
        spec: FeatureSpec = parser.get_parsed_content("spec")
        card = FPTModelCard(
            network=network.config,
            features=spec,
            classes=names,
            task=task,
            ordered=ordered,
            reader=vars(parser.get_parsed_content("reader").options),
            preparing=parser.get("preparing") or [],
        )
        weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return cls(card, weights, rounds, local_epochs, chosen)

    def save(self, folder: str | Path) -> Path:
        """Write ``federation.json``, ``model.json`` and ``initial.pt``; give the folder back."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        self.card.save(target / _CARD)
        buffer = io.BytesIO()
        torch.save(dict(self.weights), buffer)
        replace_file_content(target / _WEIGHTS, buffer.getvalue())
        content = {
            "format": _FORMAT,
            "rounds": self.rounds,
            "local_epochs": self.local_epochs,
            "settings": {k: v for k, v in self.settings.items() if k != "backbone_weights" or v in (None, "timm")},
        }
        replace_file_content(target / _PLAN, json.dumps(content, indent=1).encode())
        return target

    @classmethod
    def load(cls, folder: str | Path) -> FPTFederation:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: the folder holds no plan.
            ValueError: it holds something else.
        """
        source = Path(folder)
        if not (source / _PLAN).is_file():
            raise FileNotFoundError(f'There is no plan of a federation in "{source}" ({_PLAN} is missing).')
        content = json.loads((source / _PLAN).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f'"{source / _PLAN}" is no plan of a federation; make it again.')
        weights = {}
        if (source / _WEIGHTS).is_file():
            weights = torch.load(source / _WEIGHTS, map_location="cpu", weights_only=True)
        card = FPTModelCard.load(source / _CARD)
        return cls(card, weights, content["rounds"], content["local_epochs"], content["settings"])


def fpt_require_agreed(card: FPTModelCard, federation: str | Path | None) -> None:
    """Refuse a site that would train another model than its federation planned.

    Args:
        card: of the site.
        federation: folder of the plan; without one nothing is compared but what the weights themselves say.

    Raises:
        ValueError: the site's backbone, network, features, classes or reading of images are others.
    """
    if federation is None:
        return
    own, agreed = _facts(card), _facts(FPTModelCard.load(Path(federation) / _CARD))
    for name, value in agreed.items():
        if own[name] != value:
            raise ValueError(
                f"This site does not fit its federation: {name} is {own[name]!r} here but {value!r} in the plan; "
                "use the plan's settings and backbone weights, and name the classes as it does."
            )


def _facts(card: FPTModelCard) -> dict[str, Any]:
    """What must be the same on all sites; where the backbone's file lies need not, its fingerprint is among the features."""
    features = {} if card.features is None else card.features.to_dict()
    network = {k: v for k, v in card.network.to_dict().items() if k != "backbone_weights"}
    return {
        "classes": card.classes,
        "task": card.task,
        **{f"network.{k}": v for k, v in network.items()},
        **{f"features.{k}": v for k, v in features.items()},
        "reader": card.reader,
        "preparing": card.preparing,
    }
