"""The training declaration (`weightguard.toml`, schema weightguard/declaration/1): what no checkpoint can prove.

`load` turns the text into frozen values or raises one `ConfigurationError` with every problem, each "FILE:LINE: what is wrong,
what to write instead". Numbers are exact. Nothing here is believed: how far a declaration may clear is the policy's business.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from weightguard.evidence.publication import Published, Unclear, read_published
from weightguard.evidence.references import check_references, unknown_id
from weightguard.evidence.template import template
from weightguard.toml_lines import Checker, Key, is_sha256, key_text, read, shown
from weightguard.values import Interval, geometric_mean

__all__ = [
    "FILE_NAME",
    "SCHEMA",
    "Approval",
    "DataSource",
    "Declaration",
    "Generator",
    "Hardware",
    "Phase",
    "Published",
    "Recorded",
    "Run",
    "Start",
    "Unclear",
    "geometric_mean",
    "load",
    "template",
]  # fmt: skip

SCHEMA = "weightguard/declaration/1"
FILE_NAME = "weightguard.toml"
MODALITIES = ("text", "audio", "image", "video", "other")
KINDS_OF_RECORD = ("guidance", "opinion", "classification")  # Note 2.a.1 and 2.a.2


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
    accelerators: tuple[str, ...] = ()  # devices that it ran on, those of `hardware` among them


@dataclass(frozen=True)
class Generator:
    """A data-generation model of Technical Note 3; variants of one model share an id."""

    id: str
    weights_published: bool
    generation_operations: Interval | None
    training_runs: tuple[str, ...]


@dataclass(frozen=True)
class Approval:
    """Who approved the model, until when, under which regimes (empty: all). Printed; decides only where it is signed."""

    by: str
    reference: str | None
    date: dt.date | None
    expires: dt.date
    regimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """A number of operations under Note 2 of 4E091 that somebody recorded: `kind` is one of KINDS_OF_RECORD."""

    kind: str
    reference: str
    date: dt.date
    operations: Fraction


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
    note_2: Recorded | None = None
    generates: tuple[str, ...] | None = None  # of MODALITIES
    biological: bool | None = None  # trained primarily on biological sequence data

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


def load(path: str, text: str, as_of: dt.date) -> Declaration:
    """Read a declaration. `as_of` is the day against which an approval expires and a publication lies in the past.

    Raises `ConfigurationError` with all problems, each "FILE:LINE: ...", in the order of their lines.
    """
    check = Checker(read(path, text))
    data = check.document.data
    check.known_keys(data, (), ("schema", "model", "run", "generator", "origin", "note_2", "approval"))
    _schema(check, data)
    runs = _runs(check, data)
    generators = _generators(check, data)
    check_references(check, runs, generators)
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
    check: Checker,
    data: Mapping[str, Any],
    runs: Mapping[str, Run],
    generators: Mapping[str, Generator],
    as_of: dt.date,
) -> Declaration:
    key: Key = ("model",)
    known = ("name", "run", "whole", "path", "files", "published", "parameters", "generates", "biological")
    model = check.table(data, key, known) or {}
    parameters = check.whole_number(model["parameters"], (*key, "parameters"), least=1) if "parameters" in model else None
    selects_path = check.string(model, (*key, "path"))
    files = _files(check, model)
    if selects_path is not None and "files" in model:
        check.problem((*key, "files"), "both path and files say which model this is: write one of them")
    origin = check.table(data, ("origin",), ("country",)) or {}
    country = check.string(origin, ("origin", "country"))
    if country is not None and not (len(country) == 2 and country.isascii() and country.isalpha() and country.isupper()):
        check.problem(
            ("origin", "country"),
            f'country must be two capital letters of ISO 3166, such as "US", not {shown(country)}',
        )
    return Declaration(
        path=check.document.path,
        name=check.string(model, (*key, "name")),
        run=_last_run(check, model, runs),
        whole=check.boolean(model, (*key, "whole")) or False,
        published=read_published(check, model, as_of),
        selects_path=selects_path,
        selects_files=files,
        parameters=None if parameters is None else Fraction(parameters),
        runs=runs,
        generators=generators,
        country=country,
        approval=_approval(check, data, as_of),
        note_2=_note_2(check, data, as_of),
        generates=_generates(check, (*key, "generates"), model["generates"]) if "generates" in model else None,
        biological=check.boolean(model, (*key, "biological")),
    )


def _generates(check: Checker, key: Key, value: object) -> tuple[str, ...] | None:
    if isinstance(value, list) and value and all(item in MODALITIES for item in value):
        return tuple(dict.fromkeys(value))
    check.problem(key, f"{key_text(key)} must list what the model generates: of {', '.join(MODALITIES)}")
    return None


def _note_2(check: Checker, data: Mapping[str, Any], as_of: dt.date) -> Recorded | None:
    key: Key = ("note_2",)
    table = check.table(data, key, ("kind", "reference", "date", "operations"))
    if table is None:
        return None
    for name, example in (("kind", '"classification"'), ("operations", "2e26")):
        if name not in table:
            check.problem((*key, name), f"{key_text((*key, name))} is missing: write {name} = {example}")
    kind = check.choice(table, (*key, "kind"), KINDS_OF_RECORD)
    reference = check.string(table, (*key, "reference"), required=True)
    day = check.day(table, (*key, "date"), required=True)
    operations = _positive(check, (*key, "operations"), table["operations"]) if "operations" in table else None
    if day is not None and day > as_of:
        check.problem((*key, "date"), f"the record is dated {day}, after {as_of}")
    if kind is None or reference is None or day is None or operations is None:
        return None
    return Recorded(kind, reference, day, operations)


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


def _approval(check: Checker, data: Mapping[str, Any], as_of: dt.date) -> Approval | None:
    key: Key = ("approval",)
    table = check.table(data, key, ("by", "reference", "date", "expires", "regimes"))
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
    elif day is not None and day > as_of:
        check.problem((*key, "date"), f"the approval is dated {day}, after {as_of}")
    regimes = table.get("regimes", [])
    if not isinstance(regimes, list) or not all(isinstance(x, str) and x.strip() for x in regimes):
        check.problem((*key, "regimes"), 'regimes must list ids of regimes: write regimes = ["us-ear-4e091"]')
        regimes = []
    return None if by is None or expires is None else Approval(by, reference, day, expires, tuple(regimes))


def _last_run(check: Checker, model: Mapping[str, Any], runs: Mapping[str, Run]) -> str | None:
    """[model] run or, where it is absent, the only run from which nobody starts."""
    key: Key = ("model", "run")
    name = check.string(model, key)
    if name is not None:
        if name not in runs:
            check.problem(key, unknown_id("run", name, runs))
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


# ---- [[run]]

_RUN_KEYS = (
    "id",
    "kind",
    "starts_from",
    "operations",
    "tokens",
    "context",
    "phase",
    "hardware",
    "data",
    "data_complete",
    "accelerators",
)
_SOURCES = ("operations", "tokens", "phase", "hardware")


def _runs(check: Checker, data: Mapping[str, Any]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for key, table in check.tables(data, ("run",), _RUN_KEYS):
        run = _run(check, key, table)
        if run.id in found:
            check.problem(
                (*key, "id"), f"the id {shown(run.id)} is taken by the run on line {found[run.id].line}: ids are unique"
            )
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
    hardware = _hardware(check, key, table)
    return Run(
        id=id,
        kind=kind or "training",
        starts_from=_starts(check, (*key, "starts_from"), table.get("starts_from", [])),
        operations=_interval(check, (*key, "operations"), table["operations"]) if "operations" in table else None,
        phases=_phases(check, key, table),
        hardware=hardware,
        data=_data(check, key, table),
        data_complete=complete or False,
        line=check.document.line(key),
        accelerators=(*_accelerators(check, (*key, "accelerators"), table), *([hardware.device] if hardware else [])),
    )


def _accelerators(check: Checker, key: Key, table: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run ran on where its operations are stated otherwise: § 734.9(l) asks."""
    value = table.get("accelerators", [])
    if isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(dict.fromkeys(value))
    check.problem(key, f'{key_text(key)} must list the devices it ran on: write accelerators = ["H100-SXM"]')
    return ()


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
            check.problem(
                item_key, f'{key_text(item_key)} must be the id of a run or a table {{model = "...", published = true}}'
            )
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
            if share.low > 0 and share.high <= 1:
                utilisation = (share.low, share.high)
            else:
                check.problem(
                    (*key, "utilisation"),
                    "utilisation is a share of the dense peak: more than 0, at most 1, such as 0.4",
                )
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
            check.problem(
                (*item_key, "share"), "share is over 1: write the part of this run's operations, such as 0.12 for 12 %"
            )
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
            check.problem(
                (*key, "training_runs"), f'{key_text((*key, "training_runs"))} is a list of run ids: write ["<run id>"]'
            )
            runs = []
        if id in found:
            check.problem((*key, "id"), f"the generator id {shown(id)} is taken: variants of one model are one [[generator]]")
        elif id is not None:
            found[id] = Generator(id, published or False, operations, tuple(runs))
    return found
