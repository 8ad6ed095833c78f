"""How often a retrained model is published that is better, as good, or worse than the present one.

    python -m benchmarks.label_publishing [--draws 300]

No images: both models' scores of N judging patients (four in ten of the second class) are drawn from normal distributions with a
correlation of 0.7, so that the true AUC of the present model is 0.80 and that of the new one as far from it as the table's column says.
Printed is the share of draws in which :func:`monai_fpt.monailabel.training_compare.judged` publishes, and beside it that of the rule that
published whatever had no lower AUC.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import norm

from monai_fpt.monailabel.training_compare import judged

PRESENT, CORRELATION, SHARE = 0.80, 0.7, 0.4
PATIENTS = (8, 16, 40, 100)
GAINS = (-0.10, -0.05, 0.0, 0.05, 0.10)


def drawn(patients: int, gain: float, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of both models, and labels."""
    labels = (np.arange(patients) < round(SHARE * patients)).astype(np.int64)
    noise = random.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], size=patients)
    apart = [np.sqrt(2) * norm.ppf(auc) for auc in (PRESENT, PRESENT + gain)]
    logits = [np.stack([np.zeros(patients), noise[:, n] + labels * apart[n]], axis=1) for n in (0, 1)]
    return torch.from_numpy(logits[0]), torch.from_numpy(logits[1]), torch.from_numpy(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300)
    count = parser.parse_args().draws
    random = np.random.default_rng(0)
    print("patients | " + " | ".join(f"{gain:+.2f}" for gain in GAINS))
    for patients in PATIENTS:
        names = [str(number) for number in range(patients)]
        cells = []
        for gain in GAINS:
            found = [judged(*drawn(patients, gain, random), names, "auc") for _ in range(count)]
            better = np.mean([one.better for one in found])
            not_lower = np.mean([one.challenger >= one.present for one in found])
            cells.append(f"{better:.0%} ({not_lower:.0%})")
        print(f"{patients} | " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
