"""Sentences that must be known to read the numbers of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monai_fpt.compare.cheapest import CHEAPEST_RULE
from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.compare.differences import needed_resamples
from monai_fpt.features import FPTModelCard
from monai_fpt.metrics.units import scored_units
from monai_fpt.report.notes import few_patients
from monai_fpt.report.resample import RARE

__all__ = ["listed", "notes_of"]


def notes_of(found: FPTArmComparison) -> Iterator[str]:
    """Sentences that must be known to read the numbers."""
    units_word = "patients" if found.patients_known else "images"
    rare = ", those of rare classes among themselves" if found.stratified else ""
    put = "" if found.aggregate is None else f" Images of a patient are put together by {found.aggregate}."
    yield (
        f"AUC of an arm: the mean over its seeds; sd: between seeds. Difference: to {found.reference}, with the {found.level * 100:g} % interval of "
        f"{found.bootstrap:,} resamples, which draw {units_word} (the same for all arms{rare}) and seeds of each arm.{put}"
    )
    others = len(found.rows) - 1
    yield (
        f"{max(1, others)} arms are compared with {found.reference}, and of several some differ by chance: p is corrected for that (Holm)."
    )
    if others and found.bootstrap < (needed := needed_resamples(others, found.level)):
        yield (
            f"{found.bootstrap:,} resamples cannot show a difference among so many comparisons: the smallest corrected p there can be is "
            f"{2 * others / (found.bootstrap + 1):.3f}. Draw at least {needed:,} (bootstrap)."
        )
    units = scored_units(found.rows[0].runs[0].predictions["test"], aggregate=found.aggregate)
    if few := few_patients(units):
        yield f"Fewer than {RARE} {units_word} of {', '.join(few)} in the test section: intervals and p are rough."
    certain = [row.name for row in found.rows if row.auc.low == row.auc.high]
    if certain:
        yield f"No resample differs in {listed(certain)}: that is a limit of few images, not certainty."
    if not found.patients_known:
        yield "No patients are known, each image counts as one: where a patient has several images, intervals are too narrow."
    honest = [row.name for row in found.rows if not row.chooses]
    but = f", but in {listed(honest)}, where nothing is chosen: do not hold the one against the other" if honest else ""
    yield (
        "What is chosen (epoch, C, k, learning rate) is chosen on the validation section. The labels of the test section are hidden from probes and tuning "
        "arms; trainings of the bundle choose nothing by them. Validation AUC is of the images that chose, and too good"
        f"{but}."
    )
    if all(math.isnan(value) for row in found.rows for value in row.validation):
        yield (
            "No validation AUC exists (the validation section has no class with images of it and images without it), so that it chose nothing: "
            "the first epoch, C, k and learning rate were taken."
        )
    yield (
        f"{found.full.words} % full: learnable parameters over those. PPE = AUC x exp(-log10(r + 1)) and PME = AUC x exp(-log10(m + 1)), AUC in percent, "
        "r and m the shares of these parameters and bytes; an arm without gradients counts as 0 bytes. The paper's own yardstick is an older and "
        "larger one, so that PME is lower here."
    )
    yield (
        "Seconds: of one training, choice and predictions included. Features and tokens are in the cache and the images of tuning arms are "
        "decoded before, on no arm's clock; reading the cache is in the seconds of all adapters, of those without features too. Side by side, "
        "the time is divided by the number of trainings; one that was stopped and went on has none."
    )
    yield CHEAPEST_RULE
    yield from _batches(found)
    alone = [row.name for row in found.rows if not row.info.seeded and len(row.runs) == 1]
    if alone and len(found.seeds) > 1:
        yield f"No seed changes anything in {listed(alone)}."


def _batches(found: FPTArmComparison) -> Iterator[str]:
    """Of arms whose steps have another number of images than the recipe's."""
    size = found.full.batch_size
    own = {row.name: row.runs[0].settings.get("options", {}).get("batch_size") for row in found.rows}
    own |= {row.name: size * count for row in found.rows if (count := _members(found, row)) > 1}
    own = {name: images for name, images in own.items() if images not in (None, size)}
    if own:
        told = listed([f"{name} ({images})" for name, images in own.items()])
        yield (
            f"A step has the recipe's {found.full.batch_size} images but in {told}; bytes are of a step of the arm's own size."
        )


def _members(found: FPTArmComparison, row: FPTArmRow) -> int:
    """Of a trained network; each has a batch of its own."""
    card = found.folder / row.name / f"seed_{row.runs[0].seed}" / "model.json"
    return FPTModelCard.load(card).network.members if card.is_file() else 1


def listed(names: list[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
