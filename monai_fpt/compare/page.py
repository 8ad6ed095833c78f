"""A comparison as one HTML page that needs nothing beside it, in the style of the evaluation report. It holds no picture and no key."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from monai_fpt._version import __version__
from monai_fpt.compare.advice import advice_sentences
from monai_fpt.compare.comparison import FPTArmComparison
from monai_fpt.compare.drawings import difference_forest, seed_dots
from monai_fpt.compare.notes import notes_of
from monai_fpt.compare.tables import comparison_rows, title_of, what_was_compared
from monai_fpt.data.check.style import framed_page

__all__ = ["comparison_page"]

_MORE_STYLE = """
body { max-width: 76rem; } svg.forest { max-width: none; } svg.forest .name { fill: var(--text); }
svg.forest .range { stroke-width: 2.5; fill: none; } svg.forest .zero { stroke: var(--quiet); stroke-dasharray: 3 3; fill: none; }
svg.forest .same { stroke: var(--quiet); fill: var(--quiet); } svg.forest .better { stroke: var(--good); fill: var(--good); }
svg.forest .worse { stroke: var(--error); fill: var(--error); } svg.forest .seed { fill: var(--note); opacity: .65; }
svg.forest .mean { stroke: var(--text); stroke-width: 2; fill: none; } .what th { text-align: left; } .what td { vertical-align: top; }
tr.reference td { font-weight: 600; } th { white-space: normal; vertical-align: bottom; } .compared td, .compared th { padding-right: .7rem; font-size: .9rem; }
ul.advice { padding-left: 1.2rem; } ul.advice li { margin: .3rem 0; }
""".strip()


def comparison_page(found: FPTArmComparison) -> str:
    """The page."""
    sentences = list(advice_sentences(found))
    chosen = _chosen(found)
    parts = [
        "".join(
            _finding("warning", "Labels were shuffled: these numbers judge the harness, not the arms.")
            if found.shuffled
            else ""
        ),
        f"<h2>All arms</h2>{_table(comparison_rows(found), found.reference)}",
        f"<h2>Differences to {escape(found.reference)}</h2>{difference_forest(found)}" if len(found.rows) > 1 else "",
        f"<h2>Seeds</h2>{seed_dots(found)}",
        "<h2>Is it right for me?</h2>"
        + '<ul class="advice">'
        + "".join(f"<li>{escape(s)}</li>" for s in sentences)
        + "</ul>",
        f"<h2>What each arm is, and what validation chose</h2>{chosen}",
        _skipped(found),
        "<h2>How to read it</h2>" + "".join(f'<p class="quiet">{escape(note)}</p>' for note in notes_of(found)),
    ]
    body = f"""<h1>{escape(title_of(found))}</h1>
<p>{escape(what_was_compared(found))}</p>
<p class="verdict{" warning" if found.shuffled else ""}">{escape(sentences[0])}</p>
{"".join(parts)}
<p class="quiet">monai-fpt {escape(__version__)}. A research tool, not a medical device.</p>"""
    return framed_page(f"{title_of(found)}", body, _MORE_STYLE)


def _finding(severity: str, text: str) -> str:
    return f'<section class="finding {severity}"><div class="kind">{severity}</div><p>{escape(text)}</p></section>'


def _table(rows: Sequence[Sequence[str]], reference: str) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f'<th scope="col">{escape(text)}</th>' for text in head) + "</tr>"]
    for row in body:
        kind = ' class="reference"' if row[0] == reference else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>")
    return f'<div class="box"><table class="compared">{"".join(lines)}</table></div>'


def _chosen(found: FPTArmComparison) -> str:
    lines = [
        "<tr>"
        + "".join(f'<th scope="col">{text}</th>' for text in ("arm", "what it is", "from", "chosen, seed by seed"))
        + "</tr>"
    ]
    for row in found.rows:
        told = [row.name, row.info.line, row.info.source, "; ".join(_choice(run.chosen) for run in row.runs)]
        lines.append("<tr>" + "".join(f'<td class="text">{escape(text)}</td>' for text in told) + "</tr>")
    return f'<div class="box"><table class="what">{"".join(lines)}</table></div>'


def _choice(chosen: object) -> str:
    assert hasattr(chosen, "items")
    told = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.items()]
    return ", ".join(one for one in told if not one.startswith("validation_auc")) or "nothing"


def _skipped(found: FPTArmComparison) -> str:
    if not found.skipped:
        return ""
    lines = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in found.skipped.items())
    return f"<h2>Left out</h2><ul>{lines}</ul>"
