"""An evaluation as one HTML page that needs nothing beside it: no script, no network, pictures within.

Whatever comes from the data (classes, columns, keys) is escaped. Patients are numbered, keys of images are shown only when asked
for. Style and manners are those of the data check's page.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from html import escape

from monai_fpt._version import __version__
from monai_fpt.data.check.style import framed_page
from monai_fpt.report.drawings import interval_bar, precision_drawing, reliability_drawing, roc_drawing
from monai_fpt.report.evaluation import FPTEvaluation
from monai_fpt.report.subgroups import FPTSubgroup
from monai_fpt.report.tables import (
    class_table,
    headline,
    method_words,
    score_table,
    subgroup_kinds,
    subgroup_table,
    threshold_table,
    what_was_scored,
)
from monai_fpt.report.worst import FPTError

__all__ = ["Picture", "evaluation_page"]

Picture = Callable[[str], "bytes | None"]

_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_INTERVAL = re.compile(r"^(-?\d\.\d+) \((-?\d\.\d+--?\d\.\d+)\)$")  # as tables.cell writes them
_BELOW = r"\1<small>\2</small>"
_MORE_STYLE = """
td small { display: block; line-height: 1.2; } td { vertical-align: top; } .plots { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.plots > div { flex: 1 1 270px; max-width: 400px; } .plots svg text { font-size: 13px; } td:first-child { white-space: normal; }
svg .range { stroke-width: 1.5; opacity: .55; }
.plots h3 { font-size: 1rem; margin: 0 0 .3rem; } svg path { fill: none; } svg .curve { stroke-width: 2; } svg .thin { stroke-width: 1; }
svg .guide { stroke-width: 1; opacity: .6; } svg .point { stroke: var(--page); stroke-width: 1.5; }
.legend { list-style: none; padding: 0; margin: .3rem 0; font-size: .85rem; } .mark { margin-right: .5rem; vertical-align: middle; }
svg.bar { vertical-align: middle; max-width: none; } svg.bar .range { opacity: 1; stroke: var(--note); stroke-width: 3; } svg.bar circle { fill: var(--note); }
svg.bar .whole { stroke: var(--quiet); stroke-dasharray: 2 2; }
.confusion td, .confusion th { text-align: center; padding: .5rem .8rem; border: 1px solid var(--line); }
.confusion td small { display: block; } .confusion td.right { font-weight: 600; } tr.first td { border-top: 2px solid var(--line); }
p.verdict:not(.warning) { border-color: var(--note); }
.groups th, .confusion th { white-space: normal; vertical-align: bottom; } .confusion th[scope=row] { vertical-align: middle; }
@media (min-width: 50rem) { .groups td:first-child { white-space: nowrap; } } tr.column th { text-align: left; font-weight: 600; padding-top: 1rem; color: var(--text); } td.why { color: var(--quiet); text-align: left; } .score { max-width: 34rem; } h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
@media (prefers-color-scheme: dark) { .plots svg path, .plots svg circle { filter: brightness(1.35); } }
.errors figure { width: 10rem; } .errors figure.pair { width: 20.5rem; } .errors figure div.side { display: flex; gap: .5rem; }
.errors .none { width: 10rem; } .errors figure img { max-width: 10rem; max-height: 10rem; } .errors figcaption b { display: block; font-weight: 600; }
""".strip()


def evaluation_page(
    evaluation: FPTEvaluation,
    errors: Sequence[FPTError],
    *,
    pictures: Picture | None = None,
    heat_maps: Picture | None = None,
    show_keys: bool = False,
) -> str:
    """The page.

    Args:
        evaluation: what to show.
        errors: the worst, of the same predictions.
        pictures: key of an image to PNG or JPEG bytes, or None where there is none.
        heat_maps: likewise, of where the network looked.
        show_keys: show keys of images.

    Raises:
        ValueError: a picture is neither PNG nor JPEG.
    """
    severe = any(severity == "warning" for severity, _ in evaluation.notes)
    parts = [
        _notes(evaluation),
        "<h2>Scores</h2>",
        f'<div class="score">{_table(score_table(evaluation))}</div>',
        _section("Classes, each against the rest", _table(class_table(evaluation))),
        _thresholds(evaluation),
        _plots(evaluation),
        _section("Labels and decisions", _confusions(evaluation)),
        _section("Subgroups", _subgroups(evaluation)),
        _section("Worst errors", _errors(errors, evaluation, pictures, heat_maps, show_keys)),
    ]
    pictured = " It holds pictures of patients: keep it where patient data is kept." if pictures or heat_maps else ""
    body = f"""<h1>{escape(_title(evaluation))}</h1>
<p class="verdict{" warning" if severe else ""}">{escape(headline(evaluation))}</p>
<p>{escape(what_was_scored(evaluation))}</p>
{"".join(parts)}
<p class="quiet">{escape(method_words(evaluation))} monai-fpt {escape(__version__)}, predictions {escape(evaluation.digest[:12])}.{pictured} A research tool, not a medical device.</p>"""
    return framed_page(f"{_title(evaluation)}: {headline(evaluation)}", body, _MORE_STYLE)


def _title(evaluation: FPTEvaluation) -> str:
    """What was evaluated: classes, while they are few, and section."""
    names = evaluation.classes
    shown = ", ".join(names) if len(names) <= 4 else f"{len(names)} classes"
    return f"{shown}: evaluation of the {evaluation.section} section"


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}\n" if content else ""


def _table(rows: Sequence[Sequence[str]], *, groups: bool = False) -> str:
    """A table of escaped text, its first row the heads, in a box that scrolls; with ``groups`` a line above each new first cell."""
    if not rows:
        return ""
    head, *body = rows
    lines = ["<tr>" + "".join(f'<th scope="col">{escape(text)}</th>' for text in head) + "</tr>"]
    for row in body:
        kind = ' class="first"' if groups and row[0] else ""
        lines.append(f"<tr{kind}>" + _cells(row) + "</tr>")
    return f'<div class="box"><table>{"".join(lines)}</table></div>'


def _cells(row: Sequence[str]) -> str:
    """Cells of escaped text, an interval below its value."""
    return "".join(f"<td>{_INTERVAL.sub(_BELOW, escape(text))}</td>" for text in row)


def _notes(evaluation: FPTEvaluation) -> str:
    return "".join(
        f'<section class="finding {severity}"><div class="kind">{severity}</div><p>{escape(text)}</p></section>'
        for severity, text in evaluation.notes
    )


def _thresholds(evaluation: FPTEvaluation) -> str:
    rows = threshold_table(evaluation)
    if not rows or evaluation.calibration is None:
        return ""
    fitted = evaluation.calibration
    whose = f" of {fitted.patients:,} patients" if fitted.patients != fitted.images else ""
    words = f"Chosen on {fitted.images:,} validation images{whose}, for calibrated probabilities (temperature {fitted.temperature:.3f})."
    table = _table(rows, groups=rows[0][0] == "class")
    return _section("At chosen thresholds", f'{table}<p class="quiet">{escape(words)}</p>')


def _plots(evaluation: FPTEvaluation) -> str:
    drawn = []
    if evaluation.curves:
        drawn += [
            ("ROC", roc_drawing(evaluation)),
            ("Precision and recall", precision_drawing(evaluation)),
        ]
    drawn.append(("Reliability", reliability_drawing(evaluation)))
    plots = "".join(f"<div><h3>{title}</h3>{drawing}</div>" for title, drawing in drawn)
    return f'<h2>Curves</h2>\n<div class="plots">{plots}</div>\n'


def _confusions(evaluation: FPTEvaluation) -> str:
    """The confusion matrix, coloured by the share of the label; of several findings one a finding."""
    if evaluation.task == "multiclass":
        return _confusion(evaluation.confusion[0], evaluation.classes)
    tables = zip(evaluation.classes, evaluation.confusion, strict=True)
    return (
        '<div class="plots">'
        + "".join(f"<div><h3>{escape(name)}</h3>{_confusion(table, ('no', 'yes'))}</div>" for name, table in tables)
        + "</div>"
    )


def _confusion(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = [f'<tr><th scope="col">label \\ decision</th>{heads}</tr>']
    for place, (name, row) in enumerate(zip(names, table, strict=True)):
        total = max(1, sum(row))
        cells = "".join(
            f"<td{' class=' + chr(34) + 'right' + chr(34) if column == place else ''} "
            f'style="background:rgba(0,114,178,{0.6 * number / total:.3f})">{number:,}<small>{number / total:.0%}</small></td>'
            for column, number in enumerate(row)
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return f'<div class="box"><table class="confusion">{"".join(lines)}</table></div>'


def _subgroups(evaluation: FPTEvaluation) -> str:
    """All groups in one table, each with the interval of its AUC drawn beside that of the whole."""
    if not evaluation.subgroups:
        return ""
    lows = [group.scores["auc"].low for group in evaluation.subgroups if group.scores]
    start = min([0.5, *(math.floor(low * 10) / 10 for low in lows if not math.isnan(low))])
    lines: list[str] = []
    for column in dict.fromkeys(group.column for group in evaluation.subgroups):
        (_, *heads), *rows = subgroup_table(evaluation, column)
        if not lines:
            cells = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
            lines.append(f'<tr><th scope="col">group</th><th scope="col">AUC from {start:g} to 1</th>{cells}</tr>')
        lines.append(f'<tr class="column"><th scope="colgroup" colspan="{len(heads) + 2}">{escape(column)}</th></tr>')
        groups = [group for group in evaluation.subgroups if group.column == column]
        lines += [_subgroup(group, row, evaluation, start) for group, row in zip(groups, rows, strict=True)]
    return (
        f'<div class="box"><table class="groups">{"".join(lines)}</table></div><p class="quiet">Dashed: AUC of the whole. Of several groups some differ by '
        "chance; one that stands apart wants a look at its images. A score without interval is defined by too few of the resamples.</p>"
    )


def _subgroup(group: FPTSubgroup, row: Sequence[str], evaluation: FPTEvaluation, start: float) -> str:
    if group.reason:
        last = max(1, len(subgroup_kinds(evaluation)))
        why = f'<td class="why" colspan="{last}">not computable: {escape(group.reason)}</td>'
        return f"<tr><td>{escape(row[0])}</td><td></td>{_cells(row[1:-last])}{why}</tr>"
    score, whole = group.scores["auc"], evaluation.scores["auc"].value
    bar = interval_bar(score.value, score.low, score.high, whole, start)
    return f"<tr><td>{escape(row[0])}</td><td>{bar}</td>{_cells(row[1:])}</tr>"


def _errors(
    errors: Sequence[FPTError],
    evaluation: FPTEvaluation,
    pictures: Picture | None,
    heat_maps: Picture | None,
    show_keys: bool,
) -> str:
    if not errors:
        return "<p>No decision is wrong.</p>"
    whose = "patient" if evaluation.patients_known else "image"
    shown = "".join(_error(error, whose, pictures, heat_maps, show_keys) for error in errors)
    words = "The decisions that the network was surest of, among the wrong ones."
    return f'<p class="quiet">{words}</p><div class="images errors">{shown}</div>'


def _error(error: FPTError, whose: str, pictures: Picture | None, heat_maps: Picture | None, show_keys: bool) -> str:
    sources = [source for source in (pictures, heat_maps) if source is not None]
    found = [source(error.key) for source in sources]
    images = "".join(
        '<div class="none">no picture</div>' if one is None else f'<img alt="" src="{_uri(one)}">' for one in found
    )
    about = f"{error.detail}: " if error.detail else ""
    key = f"<span>{escape(error.key)}</span>" if show_keys else ""
    side = f'<div class="side">{images}</div>' if images else ""
    return (
        f"<figure{' class=' + chr(34) + 'pair' + chr(34) if len(found) > 1 else ''}>{side}<figcaption><b>{escape(error.label)}</b>"
        f"taken for {escape(error.decision)}<span>{escape(about)}{error.confidence:.1%} sure, {whose} {error.patient}</span>{key}"
        "</figcaption></figure>"
    )


def _uri(content: bytes) -> str:
    for start, kind in _KINDS.items():
        if content.startswith(start):
            return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    raise ValueError(
        f"report: a picture begins with {content[:4]!r} and is neither PNG nor JPEG; give such bytes, or None."
    )
