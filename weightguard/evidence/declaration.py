"""The training declaration (`weightguard.toml`, schema weightguard/declaration/1): what no checkpoint can prove.

`load` turns the text into frozen values or raises one `ConfigurationError` with every problem, each "FILE:LINE: what is wrong,
what to write instead". Numbers are exact. Nothing here is believed: how far a declaration may clear is the policy's business.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from weightguard.evidence.template import template as template
from weightguard.toml_lines import Checker, Key, key_text, nearest, read, shown
from weightguard.values import Interval

SCHEMA = "weightguard/declaration/1"
FILE_NAME = "weightguard.toml"

# Licences whose own words limit who may use or pass on the weights, or for what: by design never "published" (§ 734.7(a)
# "without restrictions upon its further dissemination"). Compared with the lower-case licence, as whole words.
RESTRICTED_LICENCES = (
    "llama", "gemma", "nc", "noncommercial", "nd", "openrail", "openrail++", "bigscience", "rail", "research", "evaluation",
    "proprietary", "gated", "nda", "other", "unknown", "custom", "none",
)  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """Training tokens processed (epochs and padding included) at one context length (None: not stated)."""

    tokens: Fraction
    context: int | None


@dataclass(frozen=True)
class Hardware:
    """What a run ran on: `count` devices for `hours` of wall-clock each; utilisation [low, high] of the dense peak."""

    device: str
    count: Fraction
    hours: Fraction
    utilisation: tuple[Fraction, Fraction] | None
    precision: str | None


@dataclass(frozen=True)
class DataSource:
    """A part of a run's data: its share of the run's operations, 0 to 1, and the model that generated it, if one did."""

    share: Fraction
    published: bool
    generator: str | None


@dataclass(frozen=True)
class Start:
    """What a run starts from: a run of this declaration, or a model known elsewhere with the operations it already took."""

    run: str | None
    model: str | None
    published: bool
    operations: Interval | None


@dataclass(frozen=True)
class Run:
    """One training run. Exactly one of `operations`, `phases` and `hardware` says how much it took."""

    id: str
    kind: str
    starts_from: tuple[Start, ...]
    operations: Interval | None
    phases: tuple[Phase, ...]
    hardware: Hardware | None
    data: tuple[DataSource, ...]
    data_complete: bool  # every unpublished generated source of this run is in `data`
    line: int


@dataclass(frozen=True)
class Generator:
    """A data-generation model of Technical Note 3; variants of one model share an id."""

    id: str
    weights_published: bool
    generation_operations: Interval | None
    training_runs: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Where, since when and under which licence the weights are public without restriction, as declared."""

    url: str
    date: datetime.date
    licence: str


@dataclass(frozen=True)
class Unclear:
    """Something was said about publication that does not clear; `reason` says why, in one clause."""

    reason: str


@dataclass(frozen=True)
class Approval:
    """Who approved the model, until when. Printed; decides only where it is signed."""

    by: str
    reference: str | None
    date: datetime.date | None
    expires: datetime.date


@dataclass(frozen=True)
class Declaration:
    """A whole declaration. `run` is the last run of the model's lineage (None: no run is declared)."""

    path: str
    name: str | None
    run: str | None
    whole: bool
    published: Published | Unclear | None
    selects_path: str | None
    selects_files: Mapping[str, str]  # file name -> SHA-256, lower case
    parameters: Fraction | None
    runs: Mapping[str, Run] = field(default_factory=dict)
    generators: Mapping[str, Generator] = field(default_factory=dict)
    country: str | None = None
    approval: Approval | None = None

    def lineage(self) -> tuple[Run, ...]:
        """The runs of the model's lineage, each once: the last run first, then what it starts from."""
        found: dict[str, Run] = {}
        waiting = [self.run] if self.run is not None else []
        while waiting:
            run = self.runs[waiting.pop()]
            if run.id not in found:
                found[run.id] = run
                waiting.extend(start.run for start in reversed(run.starts_from) if start.run is not None)
        return tuple(found.values())


def load(path: str, text: str, as_of: datetime.date) -> Declaration:
    """Read a declaration. `as_of` is the day against which an approval expires and a publication lies in the past.

    Raises `ConfigurationError` with all problems, each "FILE:LINE: ...", in the order of their lines.
    """
    check = Checker(read(path, text))
    data = check.document.data
    check.known_keys(data, (), ("schema", "model", "run", "generator", "origin", "approval"))
    _schema(check, data)
    runs = _runs(check, data)
    generators = _generators(check, data)
    _references(check, runs, generators)
    declaration = _model(check, data, runs, generators, as_of)
    check.finish()
    return declaration


def _schema(check: Checker, data: Mapping[str, Any]) -> None:
    schema = data.get("schema")
    if schema is None:
        check.problem(("schema",), f'schema is missing: write schema = "{SCHEMA}" on the first line')
    elif schema != SCHEMA:
        check.problem(("schema",), f'schema must be "{SCHEMA}", the one that this version reads, not {shown(schema)}')


# ---- [model], [origin], [approval]


def _model(
    check: Checker, data: Mapping[str, Any], runs: Mapping[str, Run], generators: Mapping[str, Generator], as_of: datetime.date
) -> Declaration:
    key: Key = ("model",)
    known = ("name", "run", "whole", "path", "files", "published", "parameters")
    model = check.table(data, key, known) or {}
    parameters = check.whole_number(model["parameters"], (*key, "parameters"), least=1) if "parameters" in model else None
    selects_path = check.string(model, (*key, "path"))
    files = _files(check, model)
    if selects_path is not None and "files" in model:
        check.problem((*key, "files"), "both path and files say which model this is: write one of them")
    origin = check.table(data, ("origin",), ("country",)) or {}
    country = check.string(origin, ("origin", "country"))
    if country is not None and not (len(country) == 2 and country.isascii() and country.isalpha() and country.isupper()):
        check.problem(("origin", "country"), f'country must be two capital letters of ISO 3166, such as "US", not {shown(country)}')
    return Declaration(
        path=check.document.path,
        name=check.string(model, (*key, "name")),
        run=_last_run(check, model, runs),
        whole=check.boolean(model, (*key, "whole")) or False,
        published=_published(check, model, as_of),
        selects_path=selects_path,
        selects_files=files,
        parameters=None if parameters is None else Fraction(parameters),
        runs=runs,
        generators=generators,
        country=country,
        approval=_approval(check, data, as_of),
    )


def _files(check: Checker, model: Mapping[str, Any]) -> dict[str, str]:
    """[model] files: file name -> SHA-256."""
    key: Key = ("model", "files")
    value = model.get("files", {})
    if not isinstance(value, dict):
        check.problem(key, 'files must be a table of names and digests: write files = {"model.safetensors" = "<sha256>"}')
        return {}
    if "files" in model and not value:
        check.problem(key, "files is empty: list the model's weight files, or leave it out")
    found = {}
    for name, digest in value.items():
        if is_sha256(digest):
            found[name] = str(digest).lower()
        else:
            check.problem((*key, name), f"the SHA-256 of {shown(name)} must be a string of 64 hexadecimal digits")
    return found


def is_sha256(value: object) -> bool:
    """Whether a value is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value.lower())


def _published(check: Checker, model: Mapping[str, Any], as_of: datetime.date) -> Published | Unclear | None:
    """[model] published: only a whole table clears; false or nothing is None; all else is unclear, with its reason."""
    key: Key = ("model", "published")
    value = model.get("published", False)
    if value is False:
        return None
    if not isinstance(value, dict):
        return Unclear("published is stated without evidence: it takes a table with url, date, licence and unrestricted = true")
    check.known_keys(value, key, ("url", "date", "licence", "unrestricted"))
    url, day, licence = value.get("url"), value.get("date"), value.get("licence")
    if not isinstance(url, str) or not url.lower().startswith(("https://", "http://")) or len(url) < 12:
        return Unclear("published has no url where anyone can get the weights (https://...)")
    if not isinstance(day, datetime.date) or isinstance(day, datetime.datetime):
        return Unclear("published has no date (written 2026-01-31, without quotes or a time)")
    if day > as_of:
        return Unclear(f"published is dated {day}, after {as_of}")
    if not isinstance(licence, str) or not licence.strip():
        return Unclear("published has no licence")
    if value.get("unrestricted") is not True:
        return Unclear("published does not say unrestricted = true (anyone may get the weights and pass them on)")
    if restricts(licence):
        return Unclear(f"the licence {shown(licence)} limits who may use or pass on the weights, or is not named")
    return Published(url, day, licence)


def restricts(licence: str) -> bool:
    """Whether a licence is one of those known to limit use or further dissemination, or is no licence's name."""
    words = "".join(c if c.isalnum() or c == "+" else " " for c in licence.lower()).split()
    return any(word.rstrip("0123456789") in RESTRICTED_LICENCES for word in words)


def _approval(check: Checker, data: Mapping[str, Any], as_of: datetime.date) -> Approval | None:
    key: Key = ("approval",)
    table = check.table(data, key, ("by", "reference", "date", "expires"))
    if table is None:
        return None
    by = check.string(table, (*key, "by"), required=True)
    reference = check.string(table, (*key, "reference"))
    day = check.day(table, (*key, "date"))
    expires = check.day(table, (*key, "expires"), required=True)
    if expires is not None and expires < as_of:
        check.problem((*key, "expires"), f"the approval expired on {expires}, before {as_of}: renew it or remove [approval]")
    if expires is not None and day is not None and expires < day:
        check.problem((*key, "expires"), f"the approval expires on {expires}, before its own date {day}")
    return None if by is None or expires is None else Approval(by, reference, day, expires)


def _last_run(check: Checker, model: Mapping[str, Any], runs: Mapping[str, Run]) -> str | None:
    """[model] run or, where it is absent, the only run from which nobody starts."""
    key: Key = ("model", "run")
    name = check.string(model, key)
    if name is not None:
        if name not in runs:
            check.problem(key, f"no [[run]] has the id {shown(name)}{_did_you_mean(name, runs)}")
        return name
    if "run" in model or not runs:
        return None
    used = {start.run for run in runs.values() for start in run.starts_from}
    last = [id for id in runs if id not in used]
    if len(last) == 1:
        return last[0]
    if last:  # none at all: a cycle, which is reported as such
        names = ", ".join(shown(id) for id in last[:5])
        check.problem(("model",), f'several runs are the last of their lineage ({names}): write [model] run = "<id>"')
    return None


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    guess = nearest(name, list(known))
    return f"; did you mean {shown(guess)}?" if guess else "; write the id of one that is declared in this file"


# ---- [[run]]

_RUN_KEYS = ("id", "kind", "starts_from", "operations", "tokens", "context", "phase", "hardware", "data", "data_complete")
_SOURCES = ("operations", "tokens", "phase", "hardware")


def _runs(check: Checker, data: Mapping[str, Any]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for key, table in check.tables(data, ("run",), _RUN_KEYS):
        run = _run(check, key, table)
        if run.id in found:
            check.problem((*key, "id"), f"the id {shown(run.id)} is taken by the run on line {found[run.id].line}: ids are unique")
        elif run.id:
            found[run.id] = run
    return found


def _run(check: Checker, key: Key, table: Mapping[str, Any]) -> Run:
    id = check.string(table, (*key, "id"), required=True) or ""
    name = f"run {shown(id)}" if id else key_text(key)
    sources = [source for source in _SOURCES if source in table]
    if len(sources) > 1:
        both = " and ".join(("[[run.phase]]" if source == "phase" else source) for source in sources)
        check.problem((*key, sources[1]), f"{name} has several sources of operations ({both}): keep the best one")
    elif not sources:
        check.problem(key, f"{name} has no source of operations: write one of operations, tokens, [[run.phase]], hardware")
    kind = check.string(table, (*key, "kind"))
    if "starts_from" not in table and kind not in (None, "pre-training"):
        check.problem(key, f"{name} does not say what it starts from: write starts_from = [...] ([] if it starts from nothing)")
    complete = check.boolean(table, (*key, "data_complete"))
    return Run(
        id=id,
        kind=kind or "training",
        starts_from=_starts(check, (*key, "starts_from"), table.get("starts_from", [])),
        operations=_interval(check, (*key, "operations"), table["operations"]) if "operations" in table else None,
        phases=_phases(check, key, table),
        hardware=_hardware(check, key, table),
        data=_data(check, key, table),
        data_complete=complete or False,
        line=check.document.line(key),
    )


def _interval(check: Checker, key: Key, value: object) -> Interval | None:
    """A number, or [low, high] with the geometric mean as the best value."""
    if not isinstance(value, list):
        number = check.number(value, key)
        return None if number is None else Interval(number, number, number)
    if len(value) != 2:
        check.problem(key, f"{key_text(key)} must be a number or [low, high]")
        return None
    low, high = check.number(value[0], (*key, 0)), check.number(value[1], (*key, 1))
    if low is None or high is None:
        return None
    if low > high:
        check.problem(key, f"{key_text(key)} has its low above its high: write [low, high]")
        return None
    return Interval(low, geometric_mean(low, high), high)


def geometric_mean(low: Fraction, high: Fraction) -> Fraction:
    """The geometric mean to a double's precision, never outside [low, high]; exact where the two are equal."""
    return low if low == high else min(max(Fraction(math.sqrt(low * high)), low), high)


def _starts(check: Checker, key: Key, value: object) -> tuple[Start, ...]:
    if not isinstance(value, list):
        check.problem(key, f"{key_text(key)} is always a list: write {_as_list(value)}")
        return ()
    found = []
    for position, item in enumerate(value):
        item_key: Key = (*key, position)
        if isinstance(item, str) and item.strip():
            found.append(Start(item, None, False, None))
        elif isinstance(item, dict):
            check.known_keys(item, item_key, ("model", "published", "operations"))
            model = check.string(item, (*item_key, "model"), required=True)
            published = check.boolean(item, (*item_key, "published")) or False
            operations = _interval(check, (*item_key, "operations"), item["operations"]) if "operations" in item else None
            found.append(Start(None, model, published, operations))
        else:
            check.problem(item_key, f'{key_text(item_key)} must be the id of a run or a table {{model = "...", published = true}}')
    runs = [start.run for start in found if start.run is not None]
    if len(set(runs)) < len(runs):
        check.problem(key, f"{key_text(key)} names one run twice")
    return tuple(found)


def _as_list(value: object) -> str:
    return f"[{shown(value)}]" if isinstance(value, str) else '["<run id>"] or [{model = "..."}]'


def _phases(check: Checker, key: Key, table: Mapping[str, Any]) -> tuple[Phase, ...]:
    """tokens with context, or [[run.phase]] with tokens and context each."""
    if "context" in table and "tokens" not in table:
        check.problem((*key, "context"), "context says at which length the tokens were trained: write tokens beside it")
    if "tokens" in table:
        phase = _phase(check, key, table)
        return () if phase is None else (phase,)
    phases = check.tables(table, (*key, "phase"), ("tokens", "context")) if "phase" in table else []
    if "phase" in table and table["phase"] == []:
        check.problem((*key, "phase"), "phase is empty: write [[run.phase]] with tokens and context")
    return tuple(phase for item in phases if (phase := _phase(check, *item)) is not None)


def _phase(check: Checker, key: Key, table: Mapping[str, Any]) -> Phase | None:
    if "tokens" not in table:
        check.problem(key, f"{key_text(key)} has no tokens: write tokens = 15.6e12")
    tokens = _positive(check, (*key, "tokens"), table["tokens"]) if "tokens" in table else None
    context = check.whole_number(table["context"], (*key, "context"), least=1) if "context" in table else None
    return None if tokens is None else Phase(tokens, context)


def _positive(check: Checker, key: Key, value: object) -> Fraction | None:
    number = check.number(value, key)
    if number == 0:
        check.problem(key, f"{key_text(key)} must be more than zero")
        return None
    return number


def _hardware(check: Checker, run: Key, parent: Mapping[str, Any]) -> Hardware | None:
    key: Key = (*run, "hardware")
    table = check.table(parent, key, ("device", "count", "hours", "utilisation", "precision"))
    if table is None:
        return None
    for name, example in (("count", "16384"), ("hours", "1300")):
        if name not in table:
            check.problem((*key, name), f"{key_text((*key, name))} is missing: write {name} = {example}")
    device = check.string(table, (*key, "device"), required=True)
    count = _positive(check, (*key, "count"), table["count"]) if "count" in table else None
    hours = _positive(check, (*key, "hours"), table["hours"]) if "hours" in table else None
    precision = check.string(table, (*key, "precision"))
    utilisation = None
    if "utilisation" in table:
        share = _interval(check, (*key, "utilisation"), table["utilisation"])
        if share is not None and share.high is not None:
            if 0 < share.low and share.high <= 1:
                utilisation = (share.low, share.high)
            else:
                check.problem((*key, "utilisation"), "utilisation is a share of the dense peak: more than 0, at most 1, such as 0.4")
    if device is None or count is None or hours is None:
        return None
    return Hardware(device, count, hours, utilisation, precision)


def _data(check: Checker, run: Key, parent: Mapping[str, Any]) -> tuple[DataSource, ...]:
    key: Key = (*run, "data")
    found, total = [], Fraction(0)
    for item_key, item in check.tables(parent, key, ("share", "published", "generator")):
        if "share" not in item:
            check.problem(item_key, f"{key_text(item_key)} has no share: write share = 0.12, of this run's operations")
            continue
        published = check.boolean(item, (*item_key, "published")) or False
        generator = check.string(item, (*item_key, "generator"))
        share = check.number(item["share"], (*item_key, "share"))
        if share is None:
            continue
        if share > 1:
            check.problem((*item_key, "share"), "share is over 1: write the part of this run's operations, such as 0.12 for 12 %")
            continue
        found.append(DataSource(share, published, generator))
        if total <= 1 < total + share:
            check.problem((*item_key, "share"), f"the shares of {key_text(run)} add up to more than 1 with this one")
        total += share
    return tuple(found)


# ---- [[generator]]


def _generators(check: Checker, data: Mapping[str, Any]) -> dict[str, Generator]:
    found: dict[str, Generator] = {}
    known = ("id", "weights_published", "generation_operations", "training_runs")
    for key, table in check.tables(data, ("generator",), known):
        id = check.string(table, (*key, "id"), required=True)
        published = check.boolean(table, (*key, "weights_published"))
        name = "generation_operations"
        operations = _interval(check, (*key, name), table[name]) if name in table else None
        runs = table.get("training_runs", [])
        if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
            check.problem((*key, "training_runs"), f"{key_text((*key, 'training_runs'))} is a list of run ids: write [\"<run id>\"]")
            runs = []
        if id in found:
            check.problem((*key, "id"), f"the generator id {shown(id)} is taken: variants of one model are one [[generator]]")
        elif id is not None:
            found[id] = Generator(id, published or False, operations, tuple(runs))
    return found


# ---- references among runs and generators


def _references(check: Checker, runs: Mapping[str, Run], generators: Mapping[str, Generator]) -> None:
    """Unknown ids, then cycles: a run can't come before itself, by what it starts from or by the models that made its data."""
    for position, table in enumerate(_tables(check, "run")):
        for at, start in enumerate(_list(table.get("starts_from"))):
            if isinstance(start, str) and start.strip() and start not in runs:
                check.problem(("run", position, "starts_from", at), f"no [[run]] has the id {shown(start)}{_did_you_mean(start, runs)}")
        for at, source in enumerate(_list(table.get("data"))):
            name = source.get("generator") if isinstance(source, dict) else None
            if isinstance(name, str) and name.strip() and name not in generators:
                hint = _did_you_mean(name, generators)
                check.problem(("run", position, "data", at, "generator"), f"no [[generator]] has the id {shown(name)}{hint}")
    for position, table in enumerate(_tables(check, "generator")):
        for at, name in enumerate(_list(table.get("training_runs"))):
            if isinstance(name, str) and name not in runs:
                hint = _did_you_mean(name, runs)
                check.problem(("generator", position, "training_runs", at), f"no [[run]] has the id {shown(name)}{hint}")
    starts = {id: [start.run for start in run.starts_from if start.run in runs] for id, run in runs.items()}
    if cycle := _cycle(starts):
        _cycle_problem(check, runs, cycle, "starts_from goes in a circle", "a run starts from earlier ones")
        return
    before = {id: starts[id] + _teachers(run, runs, generators) for id, run in runs.items()}
    if cycle := _cycle(before):
        hint = "name in training_runs only the runs before the data was generated"
        _cycle_problem(check, runs, cycle, "the training of a data generator goes in a circle", hint)


def _teachers(run: Run, runs: Mapping[str, Run], generators: Mapping[str, Generator]) -> list[str | None]:
    """The runs that trained the models that generated data for `run`."""
    used = [generators[source.generator or ""] for source in run.data if source.generator in generators]
    return [id for generator in used for id in generator.training_runs if id in runs]


def _tables(check: Checker, name: str) -> list[Mapping[str, Any]]:
    value = check.document.data.get(name)
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _cycle_problem(check: Checker, runs: Mapping[str, Run], cycle: list[str], what: str, hint: str) -> None:
    path = " -> ".join(shown(id) for id in (*cycle[:6], *(("...",) if len(cycle) > 6 else ()), cycle[0]))
    position = next(i for i, table in enumerate(_tables(check, "run")) if table.get("id") == cycle[0])
    check.problem(("run", position), f"{what} ({path}): {hint}")


def _cycle(edges: Mapping[str, list[Any]]) -> list[str]:
    """The nodes of one cycle, or none. Depth-first without recursion: a file may hold a long chain."""
    done: set[str] = set()
    for root in edges:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(node)
            elif node in on_path:
                return path[path.index(node) :]
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((other, False) for other in edges[node])
    return []
