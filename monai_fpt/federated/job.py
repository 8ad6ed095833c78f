"""A federation as a job of NVFlare: its own FedAvg, its own persistence, and one script on every site.

The server neither builds a network nor holds a backbone: it begins with the adapter in ``initial.pt`` and adds to it what the sites changed,
weighted by their training steps. After the last round the model is sent once more, and becomes ``model.pt`` on every site.

Every site runs the script in a process of its own, as it would run a training by hand.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from monai_fpt.federated.plan import FPTFederation

__all__ = ["fpt_federated_job"]

_SCRIPT = '''"""Take part in a federation of monai_fpt, by the plan beside this file."""

from pathlib import Path

from monai_fpt.federated.client import run_federated_site

run_federated_site(Path(__file__).parent)
'''
_SCRIPT_NAME = "fpt_site.py"


def fpt_federated_job(plan: str | Path, num_sites: int, name: str = "fpt", python: str = "python3 -u") -> Any:
    """The job of a federation; needs ``nvflare`` (extra ``fl``).

    Args:
        plan: folder of an :class:`FPTFederation`.
        num_sites: how many sites every round waits for.
        name: of the job.
        python: what starts the script on a site.

    Returns:
        NVFlare's recipe: ``export(folder)`` writes a job to be submitted, ``execute(environment)`` runs it.

    Raises:
        ModuleNotFoundError: NVFlare is not installed.
        ValueError: fewer than one site.
    """
    try:
        from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
        from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
        from nvflare.recipe.utils import add_final_global_evaluation
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'A federation is run by NVFlare, which is not installed; pip install "monai-fpt[fl]".'
        ) from error
    if num_sites < 1:
        raise ValueError(f"A federation needs at least one site, not num_sites={num_sites}.")
    folder = Path(plan).absolute()
    federation = FPTFederation.load(folder)
    script = Path(tempfile.mkdtemp(prefix="fpt_federation_")) / _SCRIPT_NAME
    script.write_text(_SCRIPT, encoding="utf-8")
    recipe = FedAvgRecipe(
        name=name,
        min_clients=num_sites,
        num_rounds=federation.rounds,
        train_script=str(script),
        model_persistor=PTFileModelPersistor(source_ckpt_file_full_name="initial.pt", load_device="cpu"),
        launch_external_process=True,
        command=python,
        launch_timeout=None,  # a site may have to extract its features first
        shutdown_timeout=600.0,  # how long a site may take to end its run; NVFlare's own 0 would kill it
        key_metric="",
    )
    job = recipe._job  # the recipe's own add_server_file keeps folders of the machine it is called on
    job.add_file_to_server(str(folder / "initial.pt"))
    for file in ("federation.json", "model.json"):
        job.add_file_to_clients(str(folder / file))
    add_final_global_evaluation(recipe)
    return recipe
