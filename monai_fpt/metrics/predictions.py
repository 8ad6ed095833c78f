"""FPTPredictions: what an evaluation leaves behind, complete enough that every score can be computed from it again.

Logits and not probabilities are kept: calibration and the authors' AUC need them. Groups are patients, over whom
confidence intervals are drawn. Facts are what a score may be broken down by: sex, age, site, camera. They say of which weights they are,
so that nobody takes them for those of another training, and which content each image had, so that two of one name are not taken for one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_fpt._files import write_whole
from monai_fpt.metrics.inputs import checked_labels, checked_task

__all__ = ["FPTPredictions"]

_FORMAT = "monai_fpt predictions"
_VERSION = 2  # 2 added weights_sha256 and contents; without them they are unknown


@dataclasses.dataclass(frozen=True, eq=False)
class FPTPredictions:
    """Logits and labels of N images.

    Attributes:
        keys: of the images, unique.
        groups: patient of each image; its key where no patient is known.
        labels: (N,) class numbers (multiclass) or (N, K) zeros and ones (multilabel).
        logits: (N, K) float64.
        classes: names of the K classes in the order of the logits.
        task: ``"multiclass"`` or ``"multilabel"``.
        ordered: whether the order of the classes means something.
        facts: name to N texts, empty where unknown.
        weights_sha256: of the network that was asked, see :func:`~monai_fpt.metrics.fpt_weights_sha256`; empty where unknown.
        contents: N texts that are equal where images are, such as the sha256 of a file and the number of a frame; empty where unknown.

    Raises:
        ValueError: lengths or labels that do not fit each other, or logits that are not finite.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float64]
    classes: tuple[str, ...]
    task: str = "multiclass"
    ordered: bool = False
    facts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    weights_sha256: str = ""
    contents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        logits = np.asarray(self.logits, dtype=np.float64)
        if logits.ndim != 2 or logits.shape[1] != len(self.classes) or not np.isfinite(logits).all():
            raise ValueError(
                f"predictions: logits of shape {logits.shape} are not finite numbers for {len(self.classes)} classes; evaluate again."
            )
        labels = checked_labels(self.labels, (logits.shape[0], logits.shape[1]), checked_task(self.task))
        columns = [
            self.keys,
            self.groups,
            labels,
            logits,
            *self.facts.values(),
            *([self.contents] if self.contents else []),
        ]
        lengths = set(map(len, columns))
        if len(lengths) > 1 or len(set(self.keys)) != len(self.keys):
            raise ValueError(
                f"predictions: keys, groups, labels, logits, facts and contents have the lengths {sorted(lengths)}, or a key occurs twice; "
                "evaluate again."
            )
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "labels", labels)
        for name in ("keys", "groups", "classes", "contents"):
            object.__setattr__(self, name, tuple(str(one) for one in getattr(self, name)))
        object.__setattr__(self, "facts", {k: tuple(str(v) for v in values) for k, values in self.facts.items()})

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def patients_known(self) -> bool:
        """Whether any image's patient is known; where none is, each image counts as one."""
        return self.groups != self.keys

    @property
    def keys_digest(self) -> str:
        """sha256 (64 hex digits) of the sorted keys: which images, by name."""
        return hashlib.sha256(json.dumps(sorted(self.keys)).encode()).hexdigest()

    @property
    def contents_digest(self) -> str:
        """sha256 (64 hex digits) of the sorted contents: which images, whatever they are called; empty where unknown."""
        return hashlib.sha256(json.dumps(sorted(self.contents)).encode()).hexdigest() if self.contents else ""

    def probabilities(self, temperature: float = 1.0) -> npt.NDArray[np.float64]:
        """(N, K) in [0, 1]: softmax of the logits over ``temperature`` for exclusive classes, sigmoid for several labels."""
        scaled = self.logits / temperature
        if self.task == "multilabel":
            return np.asarray(1 / (1 + np.exp(-scaled)))
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def subset(self, rows: Sequence[int] | npt.NDArray[Any]) -> FPTPredictions:
        """The images of these rows, in this order."""
        chosen = [int(row) for row in rows]
        return dataclasses.replace(
            self,
            keys=tuple(self.keys[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            labels=self.labels[chosen],
            logits=self.logits[chosen],
            facts={name: tuple(values[row] for row in chosen) for name, values in self.facts.items()},
            contents=tuple(self.contents[row] for row in chosen) if self.contents else (),
        )

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "task": self.task,
            "ordered": self.ordered,
            "classes": list(self.classes),
            "weights_sha256": self.weights_sha256,
            "facts": {name: list(values) for name, values in self.facts.items()},
            "keys": list(self.keys),
            "contents": list(self.contents),
            "groups": list(self.groups),
            "labels": self.labels.tolist(),
            "logits": self.logits.tolist(),
        }
        write_whole(Path(path), json.dumps(content) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> FPTPredictions:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no predictions, or those of a newer version.
        """
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"predictions: there is no file {str(source)!r}; evaluate a model first.")
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT or content.pop("version") > _VERSION:
                raise ValueError("another format or a newer version")
            labels = np.asarray(content.pop("labels"), dtype=np.int64)
            logits = np.asarray(content.pop("logits"), dtype=np.float64).reshape(len(content["keys"]), -1)
            return cls(labels=labels, logits=logits, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"predictions: {str(source)!r} holds none ({error}); evaluate the model again.") from error
