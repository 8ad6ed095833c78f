"""What all pages of the package share: the frame, and a style sheet with system fonts, light and dark, for a desk and for a phone."""

from __future__ import annotations

from html import escape

__all__ = ["CLASS_COLOURS", "framed_page"]

CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")  # Okabe and Ito: for all eyes

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1e21; --quiet: #5c6268; --line: #d8dce0; --panel: #f6f7f8;
  --error: #b3261e; --warning: #8a5a00; --note: #2c5f8a; --good: #1e6b3a; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171a; --text: #e4e6e9; --quiet: #9aa1a8; --line: #363b41; --panel: #1e2125;
    --error: #ff8a80; --warning: #f0b95a; --note: #8fc1ee; --good: #7fd39c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .4rem 0; } .quiet { color: var(--quiet); font-size: .85rem; }
.verdict { font-size: 1.15rem; font-weight: 600; padding: .75rem 1rem; margin: 1rem 0; background: var(--panel);
  border-left: .35rem solid var(--good); }
.verdict.error { border-color: var(--error); } .verdict.warning { border-color: var(--warning); }
.box { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--quiet); font-weight: 500; }
td.text { text-align: left; white-space: normal; }
tr.total td { font-weight: 600; border-bottom: 0; } td small { color: var(--quiet); }
.finding { border: 1px solid var(--line); border-left: .35rem solid var(--note); padding: .8rem 1rem; margin: 1rem 0; }
.finding.error { border-left-color: var(--error); } .finding.warning { border-left-color: var(--warning); }
.kind { font-size: .8rem; font-weight: 600; text-transform: uppercase; letter-spacing: .04em; color: var(--note); }
.error .kind { color: var(--error); } .warning .kind { color: var(--warning); }
.finding table { font-size: .9rem; margin: .6rem 0 .2rem; }
.images { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: .75rem; align-items: flex-start; }
.set { background: var(--panel); padding: .6rem; } .set > div { display: flex; flex-wrap: wrap; gap: .75rem; }
.set > b { display: block; font-size: .8rem; font-weight: 600; margin-bottom: .4rem; }
figure { margin: 0; width: 128px; font-size: .78rem; line-height: 1.3; }
figure img { display: block; max-width: 128px; max-height: 128px; outline: 1px solid var(--line); }
figure .none { height: 96px; border: 1px dashed var(--line); color: var(--quiet); padding-top: 2.2rem; text-align: center; }
figcaption { margin-top: .25rem; overflow-wrap: anywhere; } figcaption span { color: var(--quiet); display: block; }
pre { background: var(--panel); padding: .75rem 1rem; white-space: pre-wrap; font-size: .85rem; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--quiet); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .input { stroke: var(--quiet); stroke-dasharray: 4 4; fill: none; }
@media (max-width: 30rem) { th, td { padding-right: .6rem; font-size: .9rem; } svg text { font-size: 18px; } }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin: 0 .3rem 0 .9rem; }
""".strip()


def framed_page(title: str, body: str, more_style: str = "") -> str:
    """A self-contained HTML page.

    Args:
        title: plain text.
        body: HTML.
        more_style: CSS behind the shared one.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_STYLE}
{more_style}
</style>
</head>
<body>
{body}
</body>
</html>
"""
