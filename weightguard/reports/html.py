"""A report as one page for people: the decision first, then the law's words, the numbers and where they are from.

One file that asks nothing of any other. Its only script sorts and filters the table of models; without it, and on paper, all is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weightguard.report import ModelReport, Report
from weightguard.reports._drawing import graph, interval_axis, stack, text
from weightguard.reports._words import accounted, amount
from weightguard.reports.derivation import Node, derivation, interval, parts
from weightguard.rules.provenance import sentences
from weightguard.rules.regime import SHIPPED, regime
from weightguard.values import Claim, Verdict

_STYLE = """
:root { color-scheme: light dark; --line: #8888; --block: #c62828; --allow: #2e7d32; --bar: #5c6bc0; }
@media (prefers-color-scheme: dark) { :root { --block: #ef9a9a; --allow: #a5d6a7; --bar: #9fa8da; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 0; } h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
.block { color: var(--block); } .allow { color: var(--allow); } .verdict { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; } caption { text-align: left; font-weight: 600; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
th button { font: inherit; font-weight: 600; background: none; border: 0; color: inherit; cursor: pointer; padding: 0; }
th[aria-sort=ascending] button::after { content: " \\2191"; } th[aria-sort=descending] button::after { content: " \\2193"; }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
blockquote { margin: .3rem 0; padding-left: .8rem; border-left: 3px solid var(--line); }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg.graph rect { fill: Canvas; stroke: currentColor; } svg.graph rect.generator { stroke-dasharray: 4 3; }
details { margin-left: 1rem; } summary { cursor: pointer; } p.leaf { margin: 0 0 0 2rem; }
@media print {
  label, .skip { display: none; } body { max-width: none; margin: 0; } article, tr { break-inside: avoid; }
  details:not([open]) > :not(summary) { display: block; } details::details-content { content-visibility: visible; }
}
"""
_SCRIPT = """
const table = document.getElementById("models"), body = table.tBodies[0];
const rows = [...body.rows], said = document.getElementById("said");
document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(" ").filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    shown += !row.hidden;
  }
  said.textContent = shown + " of " + rows.length + " models";
});
table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, n = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[n].dataset.value ?? row.cells[n].textContent;
  const compare = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
  rows.sort((a, b) => up ? compare(a, b) : compare(b, a)).forEach((row) => body.append(row));
}));
document.querySelectorAll(".with-script").forEach((element) => { element.hidden = false; });
"""


def render(report: Report) -> str:
    """The file, the same bytes for the same report."""
    trees = derivation(report)
    models = "".join(_model(n, m, tree) for n, (m, tree) in enumerate(zip(report.models, trees, strict=False)))
    rest = "".join(_tree(node) for node in trees[len(report.models) :])
    unread = _table(("file", "why", "in full"), [(u.path, u.reason, u.detail) for u in report.unread], "Could not be read")
    count = len(report.models)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>weightguard: {text(report.decision)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>weightguard: <span class="{report.decision}">{text(report.decision)}</span></h1>'
        f'<p class="verdict">{report.blocked} of {count} models blocked, {len(report.unread)} files could not be read.</p>'
        f"{_overview(report.models)}{unread if report.unread else ''}{models}<article><h2>The rest</h2>{rest}</article>"
        "<p>An aid to self-classification, not legal advice and not a determination by BIS.</p></main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _overview(models: Sequence[ModelReport]) -> str:
    """The table of models, which sorts by its heads and filters by words."""
    heads = ("model", "decision", "status", "clause", "parameters", "operations at most")
    cells = "".join(f'<th scope="col"><button type="button">{head}</button></th>' for head in heads)
    rows = []
    for n, m in enumerate(models):
        v = m.deciding
        high = m.training_operations.interval.high
        rows.append(
            f'<tr><td><a href="#model-{n}">{text(m.path)}</a></td><td class="{m.decision}">{m.decision}</td>'
            f"<td>{text(v.status if v else 'not judged')}</td><td>{text(v.clause if v else '')}</td>"
            f'<td class="number" data-value="{m.parameters.total}">{m.parameters.total:,}</td>'
            f'<td class="number" data-value="{"1e999" if high is None else float(high)}">'
            f"{'no bound' if high is None else f'{float(high):.3g}'}</td></tr>"
        )
    return (
        '<p class="with-script" hidden><label>Show models with <input id="filter" type="search" autocomplete="off"></label> '
        f'<span id="said" role="status">{len(models)} of {len(models)} models</span></p>'
        f'<table id="models"><caption>Models</caption><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _model(n: int, m: ModelReport, tree: Node) -> str:
    kinds = parts(m)
    breakdown = ""
    if kinds:
        shares = [(label, amount(value), f"{share:.1%}") for label, value, share in kinds]
        breakdown = stack(kinds) + _table(("kind of layer", "operations a token", "share"), shares, "Forward operations")
    roles = [(role, f"{count:,}") for role, count in m.parameters.by_role.items() if count]
    claims = [(c.quantity, _range(c), c.source, c.where, c.trust) for c in m.training_operations.evidence]
    evidence = _table(("quantity", "value", "who says it", "where", "trust"), claims, "Evidence")
    files = _table(
        ("file", "container", "bytes"), [(f.path, f.format, f"{f.bytes:,}") for f in m.files], f"Files: {accounted(m)}"
    )
    found = _table(("severity", "finding", "where"), [(f.severity, f.message, f.path) for f in m.findings], "Findings")
    return (
        f'<article id="model-{n}"><h2>{text(m.path)}: <span class="{m.decision}">{text(m.decision)}</span></h2>'
        f"{''.join(map(_verdict, m.verdicts))}"
        f"<h3>Training operations: {text(interval(m.training_operations.interval))}</h3>{interval_axis(m)}"
        f"{_graph(m)}<h3>{m.parameters.total:,} parameters, {m.parameters.active:,} act on a token</h3>"
        f"{_table(('role', 'stored elements'), roles, 'Stored elements by role')}{breakdown}{evidence if claims else ''}"
        f"<h3>Derivation</h3>{_tree(tree)}{files}{found if m.findings else ''}</article>"
    )


def _range(c: Claim) -> str:
    return f"{float(c.low):.4g}" if c.low == c.high else f"{float(c.low):.4g} to {float(c.high):.4g}"


def _graph(m: ModelReport) -> str:
    return f"<h3>Provenance, as declared</h3>{graph(m.provenance)}" if m.provenance else ""


def _verdict(v: Verdict) -> str:
    """Status, clause, reason; what it rests on and would settle it; the law's own words."""
    lists = "".join(
        f"<p>{title}</p><ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"
        for title, lines in (("It rests on:", v.conditions), ("What would settle it:", v.to_settle))
        if lines
    )
    quoted = "".join(
        f"<blockquote><p>{text(words)}</p><footer>{text(id)}, {text(source)}</footer></blockquote>"
        for id, words, source in _words_of(v)
    )
    law = f"{v.law.status} (text as of {v.law.text_as_of}); {v.law.enforcement} (as of {v.law.enforcement_as_of})"
    return (
        f"<h3>{text(v.regime)}: {text(v.status.replace('_', ' '))}, {text(v.clause)}</h3>"
        f'<p class="verdict">{text(v.reason)}</p>{lists}'
        f"<details><summary>The law's words</summary><p>{text(law)}</p>{quoted}</details>"
    )


def _words_of(v: Verdict) -> list[tuple[str, str, str]]:
    """The sentences that a verdict's clause cites; the first of the regime where none goes by that name."""
    asked = regime(v.regime) if v.regime in SHIPPED else None
    if asked is None:
        return []
    all_of_it = sentences(asked.FOLDER)
    cited = [s for id, s in all_of_it.items() if id == v.clause or id.startswith((f"{v.clause} ", f"{v.clause}("))]
    if v.clause.count(" ") == 0 and cited:
        cited = cited[:1]  # a whole entry: its heading
    return [(s.id, s.words, s.source) for s in cited or list(all_of_it.values())[:1]]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    heads = "".join(f'<th scope="col">{text(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{text(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _tree(node: Node, *, top: bool = True) -> str:
    if not node.children:
        return f'<p class="leaf">{text(node.text)}</p>'
    inside = "".join(_tree(child, top=False) for child in node.children)
    return f"<details{' open' if top else ''}><summary>{text(node.text)}</summary>{inside}</details>"
