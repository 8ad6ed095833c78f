"""Is it right for me? A few plain sentences out of the numbers of a comparison, which never say more than the intervals do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.experiments.table import spread
from monai_fpt.metrics.units import scored_units
from monai_fpt.report.notes import few_patients
from monai_fpt.report.resample import RARE

__all__ = ["advice_sentences", "notes_of"]

_RARE = 0.05  # of a standard deviation between seeds that is worth a sentence


def advice_sentences(found: FPTArmComparison) -> Iterator[str]:
    """What the numbers say to somebody who must choose."""
    whose = _whose(found)
    if found.shuffled:
        yield from _shuffled(found, whose)
        return
    if len(found.rows) < 2:
        yield "One arm alone says nothing of the others; name more."
        return
    yield from _against_reference(found, whose)
    if not any(row.beats_guessing for row in found.rows):
        yield f"{whose} no arm is shown to beat guessing (an AUC of 0.5): label more images before you choose one."
    else:
        yield from _against_plainest(found, whose)
    yield from _by_validation(found)
    yield from _unsteady(found)


def _whose(found: FPTArmComparison) -> str:
    patients = f" of {found.patients:,} patients" if found.patients_known else ""
    return f"On these {found.images:,} test images{patients}"


def _against_reference(found: FPTArmComparison, whose: str) -> Iterator[str]:
    better, worse = (_called(found, verdict) for verdict in ("better", "worse"))
    if not better and not worse:
        yield f"{whose} no arm is shown to be better or worse than {found.reference} beyond chance."
        return
    if better:
        yield f"{whose} {_listed(better)} {_is(better)} better than {found.reference} beyond chance."
    else:
        yield f"{whose} no arm is better than {found.reference} beyond chance."
    if worse:
        yield f"{_listed(worse)} {_is(worse)} worse than {found.reference}."


def _against_plainest(found: FPTArmComparison, whose: str) -> Iterator[str]:
    names = [name for name, one in found.to_plainest.items() if one.verdict == "better"]
    guessing = [row.name for row in found.rows if not row.beats_guessing]
    of = " of those that beat guessing" if guessing else ""
    cost = f"{found.plainest}, the cheapest to train{of} ({_seconds(found.row(found.plainest).seconds)})"
    if guessing:
        yield f"Not shown to beat guessing (an AUC of 0.5): {_listed(guessing)}."
    if names:
        gains = [f"{n} ({found.to_plainest[n].score.value:+.3f}, {_ends(found, n)})" for n in names]
        yield f"Better than {cost} beyond chance: {', '.join(gains)}; take the one of them that costs you least."
        return
    yield f"{whose} no arm is better than {cost} beyond chance: take that one unless you have other reasons."
    widths = [(one.score.high - one.score.low) / 2 for one in found.to_plainest.values()]
    widths = [width for width in widths if not math.isnan(width)]
    if widths:
        yield (
            f"That is not to say that they are equal: the intervals of these differences reach {max(widths):.2f} to both sides, so that "
            "smaller ones cannot be seen with so few images and seeds."
        )


def _by_validation(found: FPTArmComparison) -> Iterator[str]:
    means = {row.name: spread(row.validation)[0] for row in found.rows}
    known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
    if known:
        alike = [name for name in known if known[name] == max(known.values())]
        best = min(alike, key=lambda name: (math.isnan(found.row(name).seconds), found.row(name).seconds))
        first = f"one of {len(alike)} that are best by validation" if len(alike) > 1 else "the best by validation"
        yield (
            f"Who may not look at the test section would take {best}, {first} ({known[best]:.3f}); on the test section it has "
            f"{found.row(best).auc}."
        )


def _unsteady(found: FPTArmComparison) -> Iterator[str]:
    for row in found.rows:
        mean, deviation = spread(row.test)
        if deviation > _RARE:
            yield f"{row.name} depends on the seed: {min(row.test):.3f} to {max(row.test):.3f} (mean {mean:.3f}); one training of it tells little."


def _shuffled(found: FPTArmComparison, whose: str) -> Iterator[str]:
    outside = [row for row in found.rows if not _holds_chance(row)]
    tested = len(found.rows)
    if not outside:
        yield (
            f"The labels were dealt anew among patients, and {whose[0].lower()}{whose[1:]} the interval of every arm's AUC holds 0.5: nothing "
            "leaks from the test section into what is learned, as far as these intervals can tell."
        )
        return
    yield (
        f"The labels were dealt anew among patients, and yet the intervals of {_listed([row.name for row in outside])} do not hold 0.5 "
        f"({len(outside)} of {tested}; about {tested * (1 - found.level):.1f} would by chance): look for patients in two sections or copies of images, "
        "and repeat it with more seeds."
    )


def _holds_chance(row: FPTArmRow) -> bool:
    return math.isnan(row.auc.low) or row.auc.low <= 0.5 <= row.auc.high


def notes_of(found: FPTArmComparison) -> Iterator[str]:
    """Sentences that must be known to read the numbers."""
    units_word = "patients" if found.patients_known else "images"
    rare = ", those of rare classes among themselves" if found.stratified else ""
    put = "" if found.aggregate is None else f" Images of a patient are put together by {found.aggregate}."
    yield (
        f"AUC of an arm: the mean over its seeds; sd: between seeds. Difference: to {found.reference}, with the {found.level * 100:g} % interval of "
        f"{found.bootstrap:,} resamples, which draw {units_word} (the same for all arms{rare}) and seeds of each arm.{put}"
    )
    yield (
        f"{max(1, len(found.rows) - 1)} arms are compared with {found.reference}, and of several some differ by chance: p is corrected for that (Holm)."
    )
    units = scored_units(found.rows[0].runs[0].predictions["test"], aggregate=found.aggregate)
    if few := few_patients(units):
        yield f"Fewer than {RARE} {units_word} of {', '.join(few)} in the test section: intervals and p are rough."
    certain = [row.name for row in found.rows if row.auc.low == row.auc.high]
    if certain:
        yield f"No resample differs in {_listed(certain)}: that is a limit of few images, not certainty."
    if not found.patients_known:
        yield "No patients are known, each image counts as one: where a patient has several images, intervals are too narrow."
    yield (
        "Epoch, C, k and learning rate were chosen on the validation section; the labels of the test section are hidden from every arm until "
        "all is chosen. Validation AUC is of the images that chose, and too good."
    )
    yield (
        f"{found.full.words} % full: learnable parameters over those. PPE = AUC x exp(-log10(r + 1)) and PME = AUC x exp(-log10(m + 1)), AUC in percent, "
        "r and m the shares of these parameters and bytes; an arm without gradients counts as 0 bytes. The paper's own yardstick is an older and "
        "larger one, so that PME is lower here."
    )
    yield (
        "Seconds: of one training, choice and predictions included, with features and tokens in the cache; arms that read images include "
        "decoding them. Side by side, the time is divided by the number of trainings."
    )
    alone = [row.name for row in found.rows if not row.info.seeded and len(row.runs) == 1]
    if alone and len(found.seeds) > 1:
        yield f"No seed changes anything in {_listed(alone)}."


def _called(found: FPTArmComparison, verdict: str) -> list[str]:
    return [row.name for row in found.rows if row.difference is not None and row.difference.verdict == verdict]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _ends(found: FPTArmComparison, name: str) -> str:
    score = found.to_plainest[name].score
    return f"{score.low:+.3f} to {score.high:+.3f}"


def _seconds(value: float) -> str:
    return "time unknown" if math.isnan(value) else f"{value:.1f} s"
