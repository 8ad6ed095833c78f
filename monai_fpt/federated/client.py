"""What NVFlare starts on every site: receive, validate, train, send.

The script lies beside the plan in the job. Where this site's images lie it does not know; that is in a JSON file of the site's own, named by
the variable ``MONAI_FPT_SITE`` (``{site}`` in it stands for NVFlare's name of the site, for simulations on one machine).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["SITE_VARIABLE", "run_federated_site", "site_settings"]

SITE_VARIABLE = "MONAI_FPT_SITE"


def site_settings(name: str) -> dict[str, Any]:
    """The settings of this site, from the file that ``MONAI_FPT_SITE`` names.

    Args:
        name: NVFlare's name of the site.

    Raises:
        FileNotFoundError: the variable is not set, or there is no such file.
        ValueError: the file is no JSON object.
    """
    path = Path(os.environ.get(SITE_VARIABLE, "").replace("{site}", name))
    if not path.is_file():
        raise FileNotFoundError(
            f'Site "{name}" does not know its data: set {SITE_VARIABLE} to a JSON file with dataset_dir, run_dir and backbone_weights '
            f'(now "{path}").'
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f'The settings of site "{name}" in "{path}" are no JSON ({error}); correct them.') from error
    if not isinstance(settings, dict):
        raise ValueError(
            f'The settings of site "{name}" in "{path}" must be a JSON object, for example {{"dataset_dir": "..."}}.'
        )
    return settings


def run_federated_site(plan: str | Path) -> None:
    """Take part in a federation until NVFlare ends it; called by the script in the job.

    Args:
        plan: folder of the plan.

    Raises:
        RuntimeError: NVFlare ended the job before the last model was sent.
    """
    import nvflare.client as flare
    from monai.fl.utils.constants import ExtraItems, FlStatistics
    from monai.fl.utils.exchange_object import ExchangeObject

    from monai_fpt.federated.site import FPTMonaiAlgo

    flare.init()
    name = str(flare.get_site_name())
    algo = FPTMonaiAlgo(plan, site_settings(name))
    algo.initialize({ExtraItems.CLIENT_NAME: name})
    kept = False
    try:
        while flare.is_running():
            received = flare.receive()
            if received is None:
                break
            scores = algo.evaluate(ExchangeObject(weights=dict(received.params))).metrics
            if flare.is_evaluate():  # the last model, after the last round
                algo.keep(received.params)
                kept = True
                flare.send(flare.FLModel(metrics=scores))
                continue
            algo.train(ExchangeObject(weights=dict(received.params)))
            sent = algo.get_weights()
            steps = int(sent.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS])
            flare.send(
                flare.FLModel(
                    params_type=flare.ParamsType.DIFF,
                    params=sent.weights,
                    metrics=scores,
                    meta={"NUM_STEPS_CURRENT_ROUND": steps},
                )
            )
        if not kept:
            raise RuntimeError(f'The federation ended before site "{name}" had its last model; see the server\'s log.')
    except BaseException as error:
        algo.tracker.fail(error)
        raise
    finally:
        algo.finalize()
