"""Is it right for me? A few plain sentences out of the numbers of a comparison, which never say more than the intervals do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monai_fpt.compare.cheapest import cheapest_row
from monai_fpt.compare.comparison import FPTArmComparison
from monai_fpt.compare.notes import listed
from monai_fpt.experiments.table import spread

__all__ = ["advice_sentences"]

_UNSTEADY = 0.05  # of a standard deviation between seeds that is worth a sentence


def advice_sentences(found: FPTArmComparison) -> Iterator[str]:
    """What the numbers say to somebody who must choose."""
    whose = _whose(found)
    if all(math.isnan(row.auc.value) for row in found.rows):
        yield (
            "No test AUC exists, so that nothing can be compared: the test section has no class with images of it and images without it; "
            "give a split whose test section has."
        )
        return
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
        yield f"{whose} {listed(better)} {_is(better)} better than {found.reference} beyond chance."
    else:
        yield f"{whose} no arm is better than {found.reference} beyond chance."
    if worse:
        yield f"{listed(worse)} {_is(worse)} worse than {found.reference}."


def _against_plainest(found: FPTArmComparison, whose: str) -> Iterator[str]:
    names = [name for name, one in found.to_plainest.items() if one.verdict == "better"]
    guessing = [row.name for row in found.rows if not row.beats_guessing]
    of = " of those that beat guessing" if guessing else ""
    cost = f"{found.plainest}, the cheapest to train{of} ({_seconds(found.row(found.plainest).seconds)})"
    if guessing:
        yield f"Not shown to beat guessing (an AUC of 0.5): {listed(guessing)}."
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
    honest = [row.name for row in found.rows if not row.chooses]
    means = {row.name: spread(row.validation)[0] for row in found.rows if row.chooses or len(honest) == len(found.rows)}
    known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
    if known:
        alike = [name for name in known if known[name] == max(known.values())]
        best = cheapest_row([found.row(name) for name in alike], found.reference).name
        first = f"one of {len(alike)} that are best by validation" if len(alike) > 1 else "the best by validation"
        yield (
            f"Who may not look at the test section would take {best}, {first} ({known[best]:.3f}); on the test section it has "
            f"{found.row(best).auc}."
        )
    if known and 0 < len(honest) < len(found.rows):
        told = [f"{name} ({spread(found.row(name).validation)[0]:.3f})" for name in honest]
        yield f"Nothing was chosen by the validation AUC of {listed(told)}, which is not too good as the others' are: it is not ranked with them."


def _unsteady(found: FPTArmComparison) -> Iterator[str]:
    for row in found.rows:
        mean, deviation = spread(row.test)
        if deviation > _UNSTEADY:
            yield f"{row.name} depends on the seed: {min(row.test):.3f} to {max(row.test):.3f} (mean {mean:.3f}); one training of it tells little."


def _shuffled(found: FPTArmComparison, whose: str) -> Iterator[str]:
    judged = [row for row in found.rows if not math.isnan(row.auc.low)]
    outside = [row.name for row in judged if not row.auc.low <= 0.5 <= row.auc.high]
    unknown = [row.name for row in found.rows if math.isnan(row.auc.low)]
    if outside:
        yield (
            f"The labels were dealt anew among patients, and yet the intervals of {listed(outside)} do not hold 0.5 "
            f"({len(outside)} of {len(judged)}; about {len(judged) * (1 - found.level):.1f} would by chance): look for patients in two sections "
            "or copies of images, and repeat it with more seeds."
        )
    elif judged:
        whom = f"every arm's AUC{' that has one' if unknown else ''}"
        yield (
            f"The labels were dealt anew among patients, and {whose[0].lower()}{whose[1:]} the interval of {whom} holds 0.5: nothing leaks from "
            "the test section into what is learned, as far as these intervals can tell."
        )
    if unknown:
        yield (
            f"Of {listed(unknown)} there is no interval, and nothing can be said: too few of the resamples have an AUC, which needs images with "
            "and without a class."
        )


def _called(found: FPTArmComparison, verdict: str) -> list[str]:
    return [row.name for row in found.rows if row.difference is not None and row.difference.verdict == verdict]


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _ends(found: FPTArmComparison, name: str) -> str:
    score = found.to_plainest[name].score
    return f"{score.low:+.3f} to {score.high:+.3f}"


def _seconds(value: float) -> str:
    return "time unknown" if math.isnan(value) else f"{value:.1f} s"
