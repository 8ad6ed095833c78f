"""Federated training: several hospitals learn one adapter, and no image leaves any of them.

MONAI's ``MonaiAlgo`` is the site, NVFlare (extra ``fl``) carries and averages the weights; this room is what lies between them and the bundle.
"""

from __future__ import annotations

import monai_fpt._torchvision  # noqa: F401
from monai_fpt.federated.client import SITE_VARIABLE, run_federated_site
from monai_fpt.federated.job import fpt_federated_job
from monai_fpt.federated.network import FPTFederatedClassifier
from monai_fpt.federated.plan import SITE_SETTINGS, FPTFederation, fpt_require_agreed
from monai_fpt.federated.simulate import fpt_simulate_federation, fpt_split_sites
from monai_fpt.federated.site import FPTMonaiAlgo, fpt_local_handlers, fpt_require_federable

__all__ = [
    "SITE_SETTINGS",
    "SITE_VARIABLE",
    "FPTFederatedClassifier",
    "FPTFederation",
    "FPTMonaiAlgo",
    "fpt_federated_job",
    "fpt_local_handlers",
    "fpt_require_agreed",
    "fpt_require_federable",
    "fpt_simulate_federation",
    "fpt_split_sites",
    "run_federated_site",
]
