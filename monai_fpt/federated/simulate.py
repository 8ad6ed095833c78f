"""A federation on one machine: one data list dealt to several sites, and NVFlare's simulator.

To try a plan before hospitals are asked, and to know what federation costs against pooled training. Images are dealt by a hash of patient (or
key), so a patient is on one site only and the sites are the same in every run and on every machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_fpt.data import FPTDataList
from monai_fpt.federated.client import SITE_VARIABLE
from monai_fpt.federated.job import fpt_federated_job

__all__ = ["fpt_simulate_federation", "fpt_split_sites"]


def fpt_split_sites(data: FPTDataList, num_sites: int) -> list[FPTDataList]:
    """Deal a data list to sites, every section by itself.

    Args:
        data: images, labels and sections.
        num_sites: how many lists to make; they differ in size, as hashes fall.

    Raises:
        ValueError: no site, or one that got no training image.
    """
    if num_sites < 1:
        raise ValueError(f"Images can be dealt to one site or more, not to {num_sites}.")
    parts = [
        dataclasses.replace(
            data,
            training=[item for item in data.training if _site_of(item, num_sites) == site],
            validation=[item for item in data.validation if _site_of(item, num_sites) == site],
            test=[item for item in data.test if _site_of(item, num_sites) == site],
        )
        for site in range(num_sites)
    ]
    empty = [site + 1 for site, part in enumerate(parts) if not part.training]
    if empty:
        raise ValueError(f"Site {empty[0]} of {num_sites} got no training image; deal to fewer sites.")
    return parts


def fpt_simulate_federation(
    plan: str | Path, sites: Mapping[str, Mapping[str, Any]], workspace: str | Path, name: str = "fpt"
) -> Path:
    """Run a federation on this machine with NVFlare's simulator; every site is a process of its own.

    Args:
        plan: folder of an ``FPTFederation``.
        sites: of every site its name and its settings, see ``SITE_SETTINGS``.
        workspace: new folder of the simulation; the settings are written there, and NVFlare's logs are.
        name: of the job.

    Returns:
        NVFlare's file of the last common model; every site has the same weights as ``model.pt`` of its ``run_dir``.

    Raises:
        FileExistsError: the workspace holds a simulation.
        RuntimeError: the simulation failed, or a site did.
    """
    folder = Path(workspace).absolute()
    if (folder / name).exists():
        raise FileExistsError(f'"{folder / name}" holds a simulation already; choose another workspace.')
    recipe = fpt_federated_job(plan, len(sites), name, f"{sys.executable} -u")
    from nvflare.recipe.sim_env import SimEnv

    folder.mkdir(parents=True, exist_ok=True)
    for site, settings in sites.items():
        (folder / f"{site}.json").write_text(json.dumps(dict(settings), indent=1, default=str), encoding="utf-8")
    before = os.environ.get(SITE_VARIABLE)
    os.environ[SITE_VARIABLE] = str(folder / "{site}.json")
    try:
        recipe.execute(SimEnv(clients=list(sites), num_threads=len(sites), workspace_root=str(folder)))
    finally:
        if before is None:
            del os.environ[SITE_VARIABLE]
        else:
            os.environ[SITE_VARIABLE] = before
    found = sorted((folder / name).rglob("FL_global_model.pt"))
    if not found:
        raise RuntimeError(f'The simulation left no common model; see the logs in "{folder / name}".')
    return found[0]


def _site_of(item: Mapping[str, Any], num_sites: int) -> int:
    text = str(item.get("group", item["key"]))
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % num_sites
