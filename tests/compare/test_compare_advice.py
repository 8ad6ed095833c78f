"""What is said of the numbers: never more than they show, and why where they show nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from compare_toys import run_of

from monai_fpt.compare import FPT_ARMS, FPTArmComparison, FPTArmInfo, FPTArmRow
from monai_fpt.compare.advice import advice_sentences
from monai_fpt.compare.cheapest import cheapest_row
from monai_fpt.compare.differences import FPTArmDifference
from monai_fpt.compare.full_memory import FPTFullTuning
from monai_fpt.compare.notes import notes_of
from monai_fpt.report.score import FPTScore

Arm = tuple[str, float, float, float, float]


def compared_arms(*arms: Arm, shuffled: bool = False, bootstrap: int = 1000) -> FPTArmComparison:
    """Arms of a name, seconds, AUC and the ends of its interval; differences are those of independent arms."""
    rows = []
    for name, seconds, value, low, high in arms:
        run = dataclasses.replace(run_of(0, [0.0, 1.0], [0, 1], ["a", "b"]), arm=name, seconds=seconds)
        rows.append(
            FPTArmRow(
                FPTArmInfo(name, "", "", "adapter"),
                (run,),
                (value,),
                (value,),
                FPTScore(value, low, high, 100),
                None,
                0,
                0,
            )
        )
    plainest = cheapest_row([row for row in rows if row.beats_guessing] or rows, rows[0].name)
    differences = {}
    for row in rows:
        if row is not plainest:
            value, half = row.auc.value - plainest.auc.value, (row.auc.high - row.auc.low) / 2
            verdict = "better" if value > half else "worse" if value < -half else "no difference shown"
            differences[row.name] = FPTArmDifference(
                FPTScore(value, value - half, value + half, 100), 0.01, 0.01, verdict
            )
    with_reference = [dataclasses.replace(row, difference=differences.get(row.name)) for row in rows]
    return FPTArmComparison(
        folder=Path(),
        rows=tuple(with_reference),
        seeds=(0,),
        reference=plainest.name,
        plainest=plainest.name,
        to_plainest=differences,
        full=FPTFullTuning(1, 1, 8, 1),
        images=111,
        patients=111,
        patients_known=False,
        classes=("no", "yes"),
        counts={},
        shuffled=shuffled,
        level=0.95,
        bootstrap=bootstrap,
        stratified=False,
        aggregate=None,
        skipped={},
        extraction=[],
        backbone="",
    )


def told(*arms: Arm, shuffled: bool = False) -> list[str]:
    """The advice."""
    return list(advice_sentences(compared_arms(*arms, shuffled=shuffled)))


def test_advice_takes_the_cheapest_where_nothing_is_shown_to_be_better() -> None:
    said = " ".join(told(("fpt_plus", 90.0, 0.80, 0.70, 0.90), ("logistic_regression", 1.0, 0.79, 0.69, 0.88)))
    assert (
        "On these 111 test images no arm is better than logistic_regression, the cheapest to train (1.0 s) beyond chance"
        in said
    )
    assert "not to say that they are equal" in said and "reach 0.10" in said


def test_advice_names_what_is_better_and_by_how_much() -> None:
    said = " ".join(told(("fpt_plus", 90.0, 0.90, 0.85, 0.95), ("knn", 1.0, 0.70, 0.6, 0.8)))
    assert "Better than knn, the cheapest to train (1.0 s) beyond chance: fpt_plus (+0.200, +0.150 to +0.250)" in said


def test_advice_recommends_nothing_that_may_be_guessing() -> None:
    said = " ".join(told(("fpt_plus", 90.0, 0.55, 0.40, 0.70), ("knn", 1.0, 0.41, 0.2, 0.6)))
    assert "no arm is shown to beat guessing" in said and "take" not in said.replace("would take fpt_plus", "")
    said = " ".join(told(("fpt_plus", 90.0, 0.75, 0.60, 0.90), ("knn", 1.0, 0.41, 0.2, 0.6)))
    assert "Not shown to beat guessing (an AUC of 0.5): knn." in said
    assert "better than fpt_plus, the cheapest to train of those that beat guessing" in said


def test_where_no_auc_exists_that_is_said_and_nothing_else() -> None:
    nothing = [(name, 1.0, math.nan, math.nan, math.nan) for name in ("fpt_plus", "knn")]
    for shuffled in (False, True):
        (said,) = told(*nothing, shuffled=shuffled)
        assert said.startswith("No test AUC exists") and "images of it and images without it" in said
        assert "leaks" not in said
    notes = " ".join(notes_of(compared_arms(*nothing)))
    assert "No validation AUC exists" in notes and "the first epoch, C, k and learning rate were taken" in notes


def test_an_arm_that_chose_nothing_is_not_ranked_by_validation_with_those_that_did() -> None:
    found = compared_arms(
        *((name, 1.0, auc, auc - 0.1, 1.0) for name, auc in (("fpt_plus", 0.8), ("fpt_plus_stable", 0.9)))
    )
    chose = dataclasses.replace(found.rows[0].runs[0], chosen={"epoch": 3})
    rows = (dataclasses.replace(found.rows[0], runs=(chose,)), found.rows[1])

    said = " ".join(advice_sentences(dataclasses.replace(found, rows=rows)))
    notes = " ".join(notes_of(dataclasses.replace(found, rows=rows)))

    assert "would take fpt_plus, the best by validation (0.800)" in said
    assert "Nothing was chosen by the validation AUC of fpt_plus_stable (0.900), which is not too good" in said
    assert "and too good, but in fpt_plus_stable, where nothing is chosen" in notes
    assert "would take fpt_plus_stable, the best by validation (0.900)" in " ".join(advice_sentences(found))


def test_an_arm_without_an_interval_does_not_hold_chance() -> None:
    unknown = ("fpt_plus", 1.0, 0.9, math.nan, math.nan)
    said = told(unknown, ("knn", 1.0, 0.5, 0.4, 0.6), shuffled=True)
    assert "every arm's AUC that has one holds 0.5" in said[0]
    assert said[1].startswith("Of fpt_plus there is no interval, and nothing can be said")
    said = told(unknown, shuffled=True)
    assert len(said) == 1 and "leaks" not in said[0]
    said = told(("fpt_plus", 1.0, 0.9, 0.8, 1.0), ("knn", 1.0, 0.5, 0.4, 0.6), shuffled=True)
    assert len(said) == 1 and "of fpt_plus do not hold 0.5 (1 of 2" in said[0]


def rows_of_cost(*arms: tuple[str, float, int | None, int]) -> list[FPTArmRow]:
    """Rows of a name, seconds, bytes and parameters."""
    rows = compared_arms(*((name, seconds, 0.8, 0.7, 0.9) for name, seconds, _, _ in arms)).rows
    return [
        dataclasses.replace(
            row,
            info=FPT_ARMS.get(name, FPTArmInfo(name, "", "ablation of the paper", "adapter")),
            runs=(dataclasses.replace(row.runs[0], training_bytes=kept, learnable_parameters=count),),
        )
        for row, (name, _, kept, count) in zip(rows, arms, strict=True)
    ]


def test_the_cheapest_arm_is_not_chosen_by_a_few_seconds() -> None:
    for seconds in (0.6, 1.0, 1.9):
        rows = rows_of_cost(("fpt", 1.0, 900, 40), ("fpt_plus", seconds, 800, 40))
        assert cheapest_row(rows, "fpt_plus").name == cheapest_row(rows[::-1], "fpt").name == "fpt_plus"
    assert cheapest_row(rows_of_cost(("knn", 1.0, None, 0), ("fpt_plus", 0.6, 800, 40)), "fpt_plus").name == "knn"
    assert cheapest_row(rows_of_cost(("fpt", 1.0, 900, 40), ("fpt_plus", 2.1, 800, 40)), "fpt_plus").name == "fpt"
    unknown = rows_of_cost(("fpt", math.nan, 1, 1), ("lora", 5.0, 9, 9))
    assert cheapest_row(unknown, "fpt").name == "lora" and cheapest_row(unknown[:1], "fpt").name == "fpt"


def test_an_ablation_is_not_taken_for_the_reference_that_is_as_quick() -> None:
    rows = rows_of_cost(("token_ratio_0.05", 0.9, 700, 40), ("fpt_plus", 1.0, 800, 40))
    assert cheapest_row(rows, "fpt_plus").name == "fpt_plus"
    assert cheapest_row(rows[:1], "fpt_plus").name == "token_ratio_0.05"
    side_only = rows_of_cost(("side_only", 0.9, 700, 40), ("fpt_plus", 1.0, 800, 40))
    assert cheapest_row(side_only, "fpt_plus").name == "fpt_plus"
    same = rows_of_cost(("lora", 1.0, 800, 40), ("dora", 1.0, 800, 40))
    assert cheapest_row(same, "dora").name == "dora"


def test_too_few_resamples_for_so_many_comparisons_are_said() -> None:
    arms = [(f"arm_{n}", 1.0, 0.8, 0.7, 0.9) for n in range(4)]
    assert "Draw at least 119 (bootstrap)" in " ".join(notes_of(compared_arms(*arms, bootstrap=118)))
    assert "Draw at least" not in " ".join(notes_of(compared_arms(*arms, bootstrap=119)))


def test_arms_with_a_batch_of_their_own_are_named_beside_the_bytes() -> None:
    found = compared_arms(("fpt_plus", 1.0, 0.8, 0.7, 0.9), ("attention_mil", 1.0, 0.8, 0.7, 0.9))
    assert "A step has" not in " ".join(notes_of(found))
    first, second = found.rows
    sizes = [{"options": {"batch_size": None}}, {"options": {"batch_size": 1}}]
    rows = [
        dataclasses.replace(row, runs=(dataclasses.replace(row.runs[0], settings=size),))
        for row, size in zip((first, second), sizes, strict=True)
    ]
    notes = " ".join(notes_of(dataclasses.replace(found, rows=tuple(rows))))
    assert "A step has the recipe's 8 images but in attention_mil (1); bytes" in notes
