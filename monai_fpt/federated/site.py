"""A site of a federation: MONAI's ``MonaiAlgo`` over the bundle, and what it must not take in silence.

``MonaiAlgo`` runs ``train#trainer.run()`` round after round and never the bundle's ``run`` list; ``configs/federated.json`` therefore extracts
the features while the workflow is initialised, and takes the checkpoint handler away: a site's own best epoch is not what a federation is
for, and a ``last.pt`` that is resumed would overwrite the weights just received.

``FPTMonaiAlgo`` adds three checks and one file. A weight that is missing in what was received would be filled with the site's own by MONAI
(``convert_global_weights``), one too many would be dropped: both are refused. The identity of the backbone travels down and is checked, and
does not travel up: it is nothing to be averaged, nor to be blurred by a privacy filter. The validation of every received model is tracked as
``global_...``. The last model becomes ``model.pt``, so that the run's folder is one that evaluation, report and registry know.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

from monai_fpt.bundle import fpt_bundle_root
from monai_fpt.federated.plan import SITE_SETTINGS, FPTFederation, train_configs
from monai_fpt.handlers import FPTCheckpointHandler
from monai_fpt.handlers._files import replace_file_content

__all__ = ["FPTMonaiAlgo", "fpt_local_handlers", "fpt_require_federable"]

_IDENTITY = "backbone_id"
_MODEL = "model.pt"


class FPTMonaiAlgo(MonaiAlgo):  # type: ignore[misc]  # MONAI has no types
    """One site of a federation.

    Args:
        plan: folder of an :class:`FPTFederation`.
        site: ids of ``train.json`` that the site decides: ``dataset_dir`` or ``data_list``, ``run_dir``, ``cache_dir``, ... (``SITE_SETTINGS``).

    Raises:
        ValueError: a setting that is the federation's, not the site's.

    Example:
        >>> # algo = FPTMonaiAlgo("plan", {"dataset_dir": "images", "run_dir": "runs/federation"})
        >>> # algo.initialize({"fl_client_name": "site-1"})
        >>> # algo.train(ExchangeObject(weights=received)); sent = algo.get_weights().weights
    """

    def __init__(self, plan: str | Path, site: Mapping[str, Any]) -> None:
        federation = FPTFederation.load(plan)
        for name in site:
            if name.replace("::", "#").split("#")[0] not in SITE_SETTINGS:
                raise ValueError(
                    f'"{name}" is not a setting of a site; a site sets {", ".join(SITE_SETTINGS)}, the rest is the plan\'s.'
                )
        settings = {
            **federation.settings,
            **site,
            "classes": list(federation.card.classes),
            "max_epochs": federation.rounds * federation.local_epochs,
            "federation": str(Path(plan).absolute()),
        }
        super().__init__(
            bundle_root=str(fpt_bundle_root()),
            local_epochs=federation.local_epochs,
            send_weight_diff=True,
            config_train_filename=train_configs(),
            train_kwargs=dict(settings),
            config_evaluate_filename=train_configs(),
            eval_kwargs={
                **settings,
                "track": False,
                "initialize": ["$monai_fpt.handlers.fpt_clear_errors()"],
                "finalize": [],
            },
        )

    @property
    def tracker(self) -> Any:
        """The ``FPTTracker`` of the site's run."""
        return self.train_workflow.parser.get_parsed_content("tracker")

    def train(self, data: ExchangeObject, extra: dict[str, Any] | None = None) -> None:
        """Train one round on from the weights received.

        Raises:
            ValueError: they are not this network's, whole and of the same shapes.
            BackboneMismatchError: they belong to another backbone.
        """
        self._require_whole(data.weights)
        with warnings.catch_warnings():  # every round is longer than the one before
            warnings.filterwarnings("ignore", message="the parameters max_epochs were recorded before")
            super().train(data, extra)

    def evaluate(self, data: ExchangeObject, extra: dict[str, Any] | None = None) -> ExchangeObject:
        """Validate the weights received, and track the scores as ``global_...``.

        Raises:
            ValueError, BackboneMismatchError: as :meth:`train`.
        """
        self._require_whole(data.weights)
        found: ExchangeObject = super().evaluate(data, extra)
        found.metrics = {name: float(value) for name, value in (found.metrics or {}).items()}
        scores = {f"global_{name}": value for name, value in found.metrics.items()}
        self.tracker.log_metrics(scores, step=self.trainer.state.epoch)
        return found

    def get_weights(self, extra: dict[str, Any] | None = None) -> ExchangeObject:
        """What this round changed, without the identity of the backbone."""
        sent: ExchangeObject = super().get_weights(extra)
        sent.weights = {name: value for name, value in (sent.weights or {}).items() if name != _IDENTITY}
        return sent

    def keep(self, weights: Mapping[str, Any]) -> Path:
        """Write the weights received as ``model.pt`` of the site's run.

        Raises:
            ValueError, BackboneMismatchError: as :meth:`train`.
        """
        self._require_whole(weights)
        network = self.evaluator.network
        network.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()}, strict=False)
        state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        path = Path(self.train_workflow.parser.get_parsed_content("run_dir")) / _MODEL
        replace_file_content(path, buffer.getvalue())
        return path

    def _require_whole(self, received: Mapping[str, Any] | None) -> None:
        own: Mapping[str, Tensor] = self.evaluator.network.state_dict()
        given = {name: tuple(value.shape) for name, value in (received or {}).items()}
        wrong = sorted(set(own) ^ set(given)) or [n for n in own if tuple(own[n].shape) != given[n]]
        if wrong:
            raise ValueError(
                f'The weights received are not those of this network: "{wrong[0]}" is missing, unknown or of another shape '
                f"({len(wrong)} such); let all sites and the server use the same plan."
            )


def fpt_local_handlers(handlers: Sequence[Any]) -> list[Any]:
    """The handlers of a training without the one that keeps and resumes its own best model."""
    return [handler for handler in handlers if not isinstance(handler, FPTCheckpointHandler)]


def fpt_require_federable(class_weights: str | None, resume: bool) -> None:
    """Refuse what has no meaning in a federation.

    Args:
        class_weights: as of ``FPTLoss``.
        resume: whether a training would go on.

    Raises:
        ValueError: weights that every site would count for itself, or a resumed site.
    """
    if class_weights not in (None, "equal"):
        raise ValueError(
            f'class_weights="{class_weights}" would be counted on every site by itself, so that the sites minimise different losses; use "equal".'
        )
    if resume:
        raise ValueError(
            "A site cannot resume: its old state would overwrite the weights it receives; start it with a new run_dir."
        )
