"""The answer of a comparison, put together out of its runs, and left as page, JSON and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_fpt.compare.arms import FPTArmInfo
from monai_fpt.compare.cheapest import cheapest_row
from monai_fpt.compare.comparison import FPTArmComparison, FPTArmRow
from monai_fpt.compare.differences import differences_to, drawn_auc, section_auc
from monai_fpt.compare.full_memory import full_tuning_cost
from monai_fpt.compare.page import comparison_page
from monai_fpt.compare.record import FPTArmRun, plain_json
from monai_fpt.data.datalist import SECTIONS
from monai_fpt.experiments._write import write_json, write_text
from monai_fpt.experiments.recipe import FPTRecipe
from monai_fpt.handlers import FPTTracker
from monai_fpt.report.score import scores_of

__all__ = ["leave_comparison", "put_together"]

_RESAMPLES_SEED = 0


def put_together(
    infos: Sequence[FPTArmInfo],
    runs: Mapping[str, Sequence[FPTArmRun]],
    recipe: FPTRecipe,
    *,
    seeds: tuple[int, ...],
    reference: str,
    shuffled: bool,
    bootstrap: int,
    level: float,
    skipped: Mapping[str, str],
    extraction: Sequence[Mapping[str, Any]],
) -> FPTArmComparison:
    """Every arm with its cost, its interval and its difference to the reference and to the cheapest."""
    value = recipe.parser({"data": recipe.data}).get_parsed_content
    network = value("network_def")
    full = full_tuning_cost(network.config, network.backbone.depth, int(value("batch_size")), recipe.run_dir)
    aggregate = value("aggregate")
    drawn, stratified = drawn_auc(runs, aggregate=aggregate, bootstrap=bootstrap, seed=_RESAMPLES_SEED)
    to_reference = differences_to(drawn, reference, level)
    intervals = scores_of(drawn, level)
    rows = tuple(
        FPTArmRow(
            info=info,
            runs=tuple(runs[info.name]),
            validation=tuple(section_auc(run, "validation", None) for run in runs[info.name]),
            test=tuple(section_auc(run, "test", aggregate) for run in runs[info.name]),
            auc=intervals[info.name],
            difference=to_reference.get(info.name),
            share_of_parameters=runs[info.name][0].learnable_parameters / full.parameters,
            share_of_memory=(runs[info.name][0].training_bytes or 0) / full.training_bytes,
        )
        for info in infos
    )
    plainest = cheapest_row([row for row in rows if row.beats_guessing] or rows, reference).name
    tested = runs[infos[0].name][0].predictions["test"]
    spec = recipe.store.spec
    return FPTArmComparison(
        folder=recipe.run_dir,
        rows=rows,
        seeds=seeds,
        reference=reference,
        plainest=plainest,
        to_plainest=differences_to(drawn, plainest, level),
        full=full,
        images=len(tested),
        patients=len(set(tested.groups)),
        patients_known=tested.patients_known,
        classes=recipe.data.classes,
        counts={name: len(recipe.data.section(name)) for name in SECTIONS},
        shuffled=shuffled,
        level=level,
        bootstrap=bootstrap,
        stratified=stratified,
        aggregate=aggregate,
        skipped=skipped,
        extraction=extraction,
        backbone=f"{spec.backbone} at {spec.image_size} px, weights {spec.backbone_fingerprint[:12]}",
    )


def leave_comparison(found: FPTArmComparison, tracker: FPTTracker) -> None:
    """Write page, JSON and text into the folder, and all into the tracking store."""
    folder = found.folder
    write_json(folder / "compare.json", plain_json(found.to_dict()))
    write_text(folder / "compare.txt", f"{found}\n")
    write_text(folder / "compare.html", comparison_page(found))
    tracker.log_metrics(found.metrics())
    for name in ("compare.html", "compare.json", "compare.txt"):
        tracker.log_artifact(folder / name)
