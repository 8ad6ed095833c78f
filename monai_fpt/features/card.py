"""FPTModelCard: what must stand beside trained weights so that another process can use them. Written as ``model.json``
beside ``model.pt``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_fpt._files import write_whole
from monai_fpt.features.spec import FeatureSpec
from monai_fpt.networks import FPTConfig

__all__ = ["FPTModelCard"]

_FORMAT = "monai_fpt model"


@dataclasses.dataclass(frozen=True)
class FPTModelCard:
    """The facts of a trained model.

    Attributes:
        network: the network's configuration.
        features: the specification of its features, with normalisation and preprocessing; None for a network that was
            not trained yet.
        classes: class names in the order of the logits.
        task: ``"multiclass"`` or ``"multilabel"``.
        data_digest: of the data list it was trained on.
        ordered: whether the order of the classes means something.
        reader: how image files are read: the options of the reader, plain JSON.
        preparing: what is done to images before the backbone's resize: a list of MONAI transform entries, plain JSON.
            Another process rebuilds them from here, so a model is never asked about images prepared otherwise.
        use_features: False for the side network alone, trained on zeros instead of features, to compare with.

    Raises:
        ValueError: ``reader`` or ``preparing`` is no plain JSON, or members that have nothing but features are given none.
    """

    network: FPTConfig
    features: FeatureSpec | None = None
    classes: tuple[str, ...] = ()
    task: str = "multiclass"
    data_digest: str = ""
    ordered: bool = False
    reader: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preparing: Sequence[Mapping[str, Any]] = ()
    use_features: bool = True

    def __post_init__(self) -> None:
        for name in ("reader", "preparing"):
            try:
                plain = json.loads(json.dumps(getattr(self, name)))
            except TypeError as error:
                raise ValueError(
                    f"The model's {name} must be plain JSON ({error}); write numbers, texts and lists."
                ) from error
            object.__setattr__(self, name, plain)
        linear = self.network.linear_members
        if linear and not self.use_features:
            raise ValueError(
                f"use_features is false, but linear_members={linear} of the network's {self.network.members} members have nothing to learn from "
                f"but features and would answer alike for every image; give linear_members 0 and members {max(1, self.network.members - linear)}."
            )

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        content = {
            "format": _FORMAT,
            "network": self.network.to_dict(),
            "features": None if self.features is None else self.features.to_dict(),
            "classes": list(self.classes),
            "task": self.task,
            "data_digest": self.data_digest,
            "ordered": self.ordered,
            "reader": self.reader,
            "preparing": self.preparing,
            "use_features": self.use_features,
        }
        write_whole(Path(path), json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: str | Path, missing_ok: bool = False) -> FPTModelCard:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            missing_ok: without a file give the paper's network with two unnamed classes, which can be checked and
                exported but not asked.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a model card.
        """
        path = Path(path)
        if missing_ok and not path.exists():
            return cls(FPTConfig(num_classes=2), classes=("class_0", "class_1"))
        if not path.exists():
            raise FileNotFoundError(
                f'There is no trained model in "{path.parent}" (no {path.name}); train one first, or give its run_dir.'
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or content.pop("format") != _FORMAT:
                raise ValueError("another format")
            features = content.pop("features")
            return cls(
                network=FPTConfig.from_dict(content.pop("network")),
                features=None if features is None else FeatureSpec.from_dict(features),
                classes=tuple(content.pop("classes")),
                **content,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f'"{path}" is no description of a trained model ({error}); train again, or restore the file.'
            ) from error

    def require_preprocessing(self, described: str) -> None:
        """Refuse to ask the model about images that are read or prepared otherwise than those it was trained on.

        Args:
            described: what will be done to images, as text; compared literally with what the features were made with.

        Raises:
            ValueError: the texts differ.
        """
        if self.features is not None and self.features.preprocessing != described:
            raise ValueError(
                "Images would be read or prepared otherwise than in the training of this model; leave reader, preparing and "
                "image_size as the model has them, or use the version of monai-fpt that it was trained with."
            )

    def require_features(self) -> FPTModelCard:
        """The card itself, of a model that may be asked about images: one that learned without features never saw what the network would
        give it, so that its answers would be wrong.

        Raises:
            ValueError: the model was trained without features.
        """
        if not self.use_features:
            raise ValueError(
                "This model was trained without features (use_features false), to compare with: it can be evaluated, and neither predict, "
                "be exported nor be registered; train with use_features true."
            )
        return self

    def normalization(self, backbone_mean: Sequence[float], backbone_std: Sequence[float]) -> dict[str, Any]:
        """``mean`` and ``std`` the network was trained with; the backbone's own for an untrained one."""
        if self.features is None:
            return {"mean": tuple(backbone_mean), "std": tuple(backbone_std)}
        return {"mean": self.features.mean, "std": self.features.std}
