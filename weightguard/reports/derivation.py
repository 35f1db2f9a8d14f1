"""The derivation of a report as a tree: every number with its formula and inputs, every clause with its words and source.

It walks the same terms that the verdict used; nothing is computed here but shares of a sum.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from weightguard.report import ModelReport, Report
from weightguard.reports._words import WIDTH, accounted, amount, printable
from weightguard.rules.provenance import sentences
from weightguard.rules.regime import SHIPPED, regime, written
from weightguard.values import Interval, Operations, Term, Verdict


@dataclass(frozen=True)
class Node:
    """One line of the derivation, and what it was derived from."""

    text: str
    children: tuple[Node, ...] = ()


UNICODE = ("├─ ", "└─ ", "│  ", "   ")
ASCII = ("|- ", "`- ", "|  ", "   ")


def render(report: Report, marks: tuple[str, str, str, str] = ASCII) -> str:
    """One tree a model, 80 columns. `marks`: a branch, the last branch, a line beside a branch, nothing beside it."""
    lines: list[str] = []
    for node in derivation(report):
        lines += [*drawn(node, marks), ""]
    return "\n".join(lines) + "\n"


def derivation(report: Report) -> list[Node]:
    """A tree for each model, each unread file, and the policy."""
    nodes = [_model(m) for m in report.models]
    nodes += [Node(f"unread: {u.path}: {u.reason}: {u.detail}") for u in report.unread]
    values = ", ".join(
        f"{k} = {v}" for k, v in report.policy.items() if k not in ("waivers", "signers") and v not in (None, [])
    )
    return [*nodes, Node(f"policy: {values}")]


def parts(m: ModelReport) -> list[tuple[str, Fraction, float]]:
    """Forward operations a token by kind of layer: (label, operations, share of their sum), attention by the key apart."""
    f = m.forward_operations
    terms = [t for t in f.terms if t.unit == "operations/token"] if f is not None else []
    total = sum((t.value for t in terms), Fraction(0))
    return [(t.label, t.value, float(t.value / total) if total else 0.0) for t in terms]


def drawn(node: Node, marks: tuple[str, str, str, str]) -> Iterator[str]:
    """The lines of one tree."""
    return _drawn(node, "", "", marks)


def _drawn(node: Node, first: str, rest: str, marks: tuple[str, str, str, str]) -> Iterator[str]:
    branch, last, beside, nothing = marks
    below = rest + (beside if node.children else nothing)
    yield from textwrap.wrap(
        printable(node.text), WIDTH, initial_indent=first, subsequent_indent=below + "  ", break_on_hyphens=False
    )
    for n, child in enumerate(node.children):
        end = n == len(node.children) - 1
        yield from _drawn(child, rest + (last if end else branch), rest + (nothing if end else beside), marks)


def _model(m: ModelReport) -> Node:
    files = Node(
        f"files: {len(m.files)}, {sum(f.bytes for f in m.files):,} bytes, {_counted(f.format for f in m.files)}",
        (Node(f"bytes: {accounted(m)}"), *(Node(f"missing: {text}") for text in m.missing)),
    )
    p = m.parameters
    counts = [
        f"stored elements {p.stored_elements:,}: " + ", ".join(f"{k} {v:,}" for k, v in p.by_role.items() if v),
        "stored as " + ", ".join(f"{k} {v:,}" for k, v in p.by_dtype.items()),
        *([f"unpacked by the rules of {p.quantization}"] if p.quantization else []),
    ]
    parameters = Node(f"parameters: {p.total:,}, of which {p.active:,} act on a token", tuple(map(Node, counts)))
    found = tuple(Node(f"finding {x.id} ({x.severity}): {x.message} ({x.path})") for x in m.findings)
    children = (files, parameters, _architecture(m), *_forward(m), _operations(m.training_operations))
    return Node(f"{m.path}: {m.decision.upper()}", (*children, *map(_verdict, m.verdicts), *found))


def _architecture(m: ModelReport) -> Node:
    a = m.architecture
    if a is None:
        return Node("architecture: none known; bounded tensor by tensor")
    heads = f", {a.attention.heads} heads of {a.attention.qk} and {a.attention.v}" if a.attention else ""
    experts = f", {int(a.experts.max())} experts of which {a.experts_per_token} a token" if a.experts_per_token else ""
    context = f", context {a.context}" if a.context else ""
    shape = Node(f"{a.layers} layers, hidden {a.hidden_size}{heads}{experts}{context}")
    if a.source == "shapes":
        return Node("architecture: by names and shapes; bounded tensor by tensor", (shape,))
    whose = "config.json" if a.source == "config" else "the file's own hyperparameters"
    return Node(f"architecture: {a.model_type}, from {whose}, checked against the shapes", (shape,))


def _forward(m: ModelReport) -> Iterator[Node]:
    f = m.forward_operations
    if f is None:
        return
    shares = {label: share for label, _, share in parts(m)}
    terms = (_term(t, shares.get(t.label) if len(shares) > 1 else None) for t in f.terms)
    between = Node(f"by matrix multiplication between {f.matmul_range[0]:,} and {f.matmul_range[1]:,}")
    yield Node(f"forward operations a {f.unit}: {f.matmul:,} + {f.attention:,} a key", (between, *terms))


def _operations(o: Operations) -> Node:
    children = [_term(t) for t in o.terms]
    for c in o.evidence:
        amounts = written(c.low) if c.low == c.high else f"{written(c.low)} to {written(c.high)}"
        children.append(Node(f"evidence ({c.trust}): {c.quantity} {amounts}, {c.source}, {c.where}"))
    children += [Node(f"assumed: {text}") for text in o.assumptions]
    d = o.distribution
    if d is not None:
        text = f"{d.level:.0%} of a simulation lies in {d.low:.3g} to {d.high:.3g} (seed {d.seed}); it decides nothing"
        children.append(Node(text))
    return Node(f"training operations: {interval(o.interval)}, by {o.method}", tuple(children))


def _verdict(v: Verdict) -> Node:
    children = [
        *(f"rests on{' (not attested)' if text in v.unattested else ''}: {text}" for text in v.conditions),
        *(f"to settle: {text}" for text in v.to_settle),
    ]
    text = sentences(regime(v.regime).FOLDER) if v.regime in SHIPPED else {}  # a policy's own regime has none
    for id, sentence in text.items():
        if id.startswith(v.clause if v.clause != "4E091" else "4E091 heading"):
            children.append(f'{id}: "{sentence.words}" [{sentence.source}]')
    law = v.law
    children.append(f"law: {law.status} (text as of {law.text_as_of}); {law.enforcement} (as of {law.enforcement_as_of})")
    children += [f"not assessed: {text}" for text in v.not_assessed]
    return Node(f"{v.regime}: {v.status}, {v.clause}: {v.reason}", tuple(map(Node, children)))


def interval(i: Interval) -> str:
    """An interval as people read it."""
    high = "no upper bound" if i.high is None else written(i.high)
    best = "" if i.best is None else f", best {written(i.best)}"
    return f"{written(i.low)} to {high}{best}"


def _term(t: Term, share: float | None = None) -> Node:
    value = (
        amount(t.value)
        if t.value >= 1000
        else f"{float(t.value):g}"
        if t.value.denominator > 1
        else str(int(Fraction(t.value)))
    )
    part = "" if share is None else f" ({share:.1%})"
    return Node(f"{t.label}: {value} {t.unit}{part} = {t.formula} [{t.source}]")


def _counted(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))
