"""The training declaration: what is read, and every problem with its line."""

from __future__ import annotations

import datetime as dt
import json
import os
import tomllib
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weightguard
from weightguard.errors import ConfigurationError
from weightguard.evidence.declaration import (
    Approval,
    DataSource,
    Declaration,
    Generator,
    Hardware,
    Phase,
    Published,
    Start,
    Unclear,
    load,
    template,
)
from weightguard.evidence.publication import restricts
from weightguard.toml_lines import PROBLEMS
from weightguard.values import Interval

AS_OF = dt.date(2026, 11, 24)
SCHEMA = 'schema = "weightguard/declaration/1"\n'
DIGEST = "0123456789abcdef" * 4

WHOLE = (
    SCHEMA
    + f"""\
[model]
name = "acme-l-2"
run = "sft"                       # the last run of its lineage
whole = true
files = {{"model.safetensors" = "{DIGEST.upper()}"}}
parameters = 4.058e11
published = false
[[run]]
id = "pretrain"
kind = "pre-training"
starts_from = []
data_complete = true
[[run.phase]]
tokens = 15.0e12
context = 8192
[[run.phase]]
tokens = 0.6e12
context = 131072
[[run.data]]
share = 0.12
published = false
generator = "acme-teacher"
[[run.data]]
share = 0.88
published = true
[[run]]
id = "sft"
kind = "fine-tuning"
starts_from = ["pretrain", {{model = "open-base", published = true, operations = [3.8e25, 4e25]}}]
hardware = {{device = "H100-SXM", count = 16384, hours = 1300, utilisation = [0.36, 0.43], precision = "bf16"}}
[[run]]
id = "teacher-pretrain"
operations = 9.1e25
[[generator]]
id = "acme-teacher"
weights_published = false
generation_operations = 4e23
training_runs = ["teacher-pretrain"]
[origin]
country = "US"
[approval]
by = "A. Person"
reference = "EC-12"
date = 2026-11-24
expires = 2027-11-24
"""
)


def problems(text: str, as_of: dt.date = AS_OF) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load("w.toml", text, as_of)
    return list(error.value.problems)


def run_with(body: str) -> Declaration:
    return load("w.toml", f'{SCHEMA}[[run]]\nid = "a"\n{body}\n', AS_OF)


def one_problem(body: str, *words: str, line: int | None = None) -> None:
    """A declaration with one run whose body starts on line 4 has one problem that says `words`."""
    found = problems(f'{SCHEMA}[[run]]\nid = "a"\n{body}\n')
    assert len(found) == 1, found
    for word in words:
        assert word in found[0], found[0]
    if line is not None:
        assert found[0].startswith(f"w.toml:{line}: "), found[0]


# ---- what is read


def test_whole_declaration_is_read_exactly() -> None:
    declaration = load("w.toml", WHOLE, AS_OF)
    assert (declaration.name, declaration.run, declaration.whole, declaration.country) == (
        "acme-l-2",
        "sft",
        True,
        "US",
    )
    assert declaration.parameters == 405_800_000_000 and declaration.published is None
    assert declaration.selects_files == {"model.safetensors": DIGEST} and declaration.selects_path is None
    pretrain, sft, teacher = declaration.runs.values()
    assert pretrain.phases == (Phase(Fraction(15 * 10**12), 8192), Phase(Fraction(6 * 10**11), 131072))
    assert pretrain.data == (
        DataSource(Fraction(12, 100), False, "acme-teacher"),
        DataSource(Fraction(88, 100), True, None),
    )
    assert (pretrain.data_complete, pretrain.kind, pretrain.line, sft.data_complete) == (True, "pre-training", 9, False)
    assert sft.starts_from[0] == Start("pretrain", None, False, None)
    base = sft.starts_from[1]
    assert (base.run, base.model, base.published) == (None, "open-base", True)
    assert base.operations is not None and (base.operations.low, base.operations.high) == (
        Fraction(38 * 10**24),
        Fraction(4 * 10**25),
    )
    rate = (Fraction(36, 100), Fraction(43, 100))
    assert sft.hardware == Hardware("H100-SXM", Fraction(16384), Fraction(1300), rate, "bf16")
    assert teacher.operations == Interval(Fraction(91 * 10**24), Fraction(91 * 10**24), Fraction(91 * 10**24))
    made = Fraction(4 * 10**23)
    assert declaration.generators == {
        "acme-teacher": Generator("acme-teacher", False, Interval(made, made, made), ("teacher-pretrain",))
    }
    assert declaration.approval == Approval("A. Person", "EC-12", AS_OF, dt.date(2027, 11, 24))
    assert [run.id for run in declaration.lineage()] == ["sft", "pretrain"]


def test_declared_decimals_add_exactly() -> None:
    text = SCHEMA + '[[run]]\nid = "a"\noperations = 9.9e25\n[[run]]\nid = "b"\nstarts_from = ["a"]\noperations = 1e24\n'
    total = sum((run.operations.low for run in load("w", text, AS_OF).lineage() if run.operations), Fraction(0))
    assert total == 10**26


def test_best_of_an_interval_is_the_geometric_mean_inside_it() -> None:
    operations = run_with("operations = [1e24, 4e24]").runs["a"].operations
    assert operations is not None and operations.best is not None
    assert abs(float(operations.best) / 2e24 - 1) < 1e-12
    equal = run_with("operations = [3e24, 3e24]").runs["a"].operations
    assert equal is not None and equal.low == equal.best == equal.high
    zero = run_with("operations = [0, 3e24]").runs["a"].operations
    assert zero is not None and zero.best == 0


def test_without_runs_a_declaration_is_legal() -> None:
    declaration = load("w", SCHEMA + "[model]\nwhole = true\n", AS_OF)
    assert (declaration.run, declaration.runs, declaration.whole, declaration.lineage()) == (None, {}, True, ())
    assert load("w", SCHEMA, AS_OF).whole is False


def test_run_is_the_only_last_one_where_it_is_not_named() -> None:
    chain = '[[run]]\nid = "a"\noperations = 1\n[[run]]\nid = "b"\nstarts_from = ["a"]\noperations = 1\n'
    assert load("w", SCHEMA + chain, AS_OF).run == "b"
    found = problems(SCHEMA + chain + '[[run]]\nid = "c"\nstarts_from = ["a"]\noperations = 1\n')
    assert len(found) == 1 and '"b", "c"' in found[0] and "[model] run" in found[0]


def test_a_diamond_of_runs_is_counted_once() -> None:
    text = "".join(
        f'[[run]]\nid = "{id}"\nstarts_from = {json.dumps(starts)}\noperations = 1\n'
        for id, starts in {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}.items()
    )
    assert sorted(run.id for run in load("w", SCHEMA + text, AS_OF).lineage()) == ["a", "b", "c", "d"]


@given(st.permutations(range(4)))
def test_order_of_declaration_is_irrelevant(order: list[int]) -> None:
    runs = [
        '[[run]]\nid = "a"\noperations = 1e25\n',
        '[[run]]\nid = "b"\nstarts_from = ["a"]\ntokens = 1e12\n',
        '[[run]]\nid = "c"\nstarts_from = ["b", "a"]\noperations = [1, 2]\n[[run.data]]\nshare = 0.2\ngenerator = "g"\n',
        '[[generator]]\nid = "g"\ntraining_runs = ["a"]\n',
    ]
    declaration = load("w", SCHEMA + "".join(runs[i] for i in order), AS_OF)
    assert declaration.run == "c" and {run.id for run in declaration.lineage()} == {"a", "b", "c"}
    key = {id: (run.operations, run.phases, run.data, run.starts_from) for id, run in declaration.runs.items()}
    plain = load("w", SCHEMA + "".join(runs), AS_OF)
    assert key == {id: (run.operations, run.phases, run.data, run.starts_from) for id, run in plain.runs.items()}


# ---- publication

EVIDENCE = 'url = "https://example.org/m", date = 2026-01-31, licence = "apache-2.0", unrestricted = true'


def published(value: str, as_of: dt.date = AS_OF) -> Published | Unclear | None:
    return load("w", f"{SCHEMA}[model]\npublished = {value}\n", as_of).published


def test_published_clears_only_as_a_whole_table() -> None:
    assert published("{" + EVIDENCE + "}") == Published("https://example.org/m", dt.date(2026, 1, 31), "apache-2.0")
    assert published("false") is None
    assert load("w", SCHEMA, AS_OF).published is None


@pytest.mark.parametrize(
    "value",
    [
        "true",
        '"yes"',
        "1",
        "{}",
        "[]",
        "{unrestricted = true}",
        "{" + EVIDENCE.replace("unrestricted = true", "unrestricted = false") + "}",
        "{" + EVIDENCE.replace("unrestricted = true", 'unrestricted = "true"') + "}",
        "{" + EVIDENCE.replace(", unrestricted = true", "") + "}",
        "{" + EVIDENCE.replace("date = 2026-01-31, ", "") + "}",
        "{" + EVIDENCE.replace("2026-01-31", "2026-11-25") + "}",
        "{" + EVIDENCE.replace("2026-01-31", '"2026-01-31"') + "}",
        "{" + EVIDENCE.replace("2026-01-31", "2026-01-31T00:00:00Z") + "}",
        "{" + EVIDENCE.replace('"https://example.org/m"', '""') + "}",
        "{" + EVIDENCE.replace('"https://example.org/m"', '"ask us"') + "}",
        "{" + EVIDENCE.replace('"apache-2.0"', '" "') + "}",
        "{" + EVIDENCE.replace('"apache-2.0"', '"cc-by-nc-4.0"') + "}",
        "{" + EVIDENCE.replace('"apache-2.0"', '"llama3.1"') + "}",
        "{" + EVIDENCE.replace('"apache-2.0"', '"other"') + "}",
    ],
)
def test_any_other_publication_is_unclear(value: str) -> None:
    assert isinstance(published(value), Unclear)


def test_publication_counts_from_its_day() -> None:
    assert isinstance(published("{" + EVIDENCE + "}", dt.date(2026, 1, 31)), Published)
    assert isinstance(published("{" + EVIDENCE + "}", dt.date(2026, 1, 30)), Unclear)


def test_unknown_key_of_publication_is_an_error() -> None:
    found = problems(f"{SCHEMA}[model]\npublished = {{{EVIDENCE.replace('licence', 'license')}}}\n")
    assert found == ['w.toml:3: unknown key "license" in model.published; did you mean licence?']


@pytest.mark.parametrize(
    "licence", ["apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "bsd-3-clause", "gpl-3.0", "cc0-1.0", "odc-by"]
)
def test_free_licences_do_not_restrict(licence: str) -> None:
    assert not restricts(licence)


@pytest.mark.parametrize(
    "licence",
    ["llama2", "Llama 3.1 Community License", "gemma", "cc-by-nc-4.0", "CC-BY-ND", "bigscience-bloom-rail-1.0",
     "creativeml-openrail-m", "openrail++", "unknown", "mistral-ai-research-licence", "proprietary"],
)  # fmt: skip
def test_limited_licences_restrict(licence: str) -> None:
    assert restricts(licence)


# ---- problems, each with its line


def test_example_of_an_unknown_key() -> None:
    one_problem("operatoins = 1e25\noperations = 1", "unknown key", "did you mean operations?", line=4)


def test_syntax_errors_name_the_line() -> None:
    assert problems(SCHEMA + "[model]\nwhole = yes\n")[0].startswith("w.toml:3: not valid TOML")
    assert problems(SCHEMA + '[model]\nname = "a"\nname = "b"\n')[0].startswith("w.toml:")


def test_schema_is_required_and_known() -> None:
    assert problems("")[0].startswith("w.toml:1: schema is missing")
    assert problems('\nschema = "weightguard/declaration/2"\n')[0].startswith("w.toml:2: schema must be")


def test_all_problems_come_at_once_in_order() -> None:
    found = problems('[[run]]\nid = "a"\nkinds = "x"\noperations = -1\n[model]\nwhole = "yes"\n[orgin]\n')
    assert [line.split(":")[1] for line in found] == ["1", "3", "4", "6", "7"]


def test_problems_are_capped() -> None:
    found = problems(SCHEMA + "".join(f"key{i} = 1\n" for i in range(5000)))
    assert len(found) == PROBLEMS + 1 and "more problems" in found[-1]


@pytest.mark.parametrize(
    ("body", "words", "line"),
    [
        ("", ("no source of operations",), 2),
        ("operations = 1\ntokens = 2", ("several sources", "operations and tokens"), 5),
        ('tokens = 1\nhardware = {device = "A100", count = 1, hours = 1}', ("several sources",), 5),
        ("operations = 1\n[[run.phase]]\ntokens = 1", ("several sources", "[[run.phase]]"), 5),
        ('operations = "9e25"', ("must be a number", "without quotes"), 4),
        ("operations = true", ("must be a number",), 4),
        ("operations = nan", ("finite",), 4),
        ("operations = inf", ("finite",), 4),
        ("operations = -inf", ("finite",), 4),
        ("operations = -1", ("negative",), 4),
        ("operations = [2, 1]", ("low above its high",), 4),
        ("operations = [1]", ("[low, high]",), 4),
        ("operations = [1, 2, 3]", ("[low, high]",), 4),
        ("operations = [1, nan]", ("finite",), 4),
        ("operations = 1e999999", ("larger than 1e40",), 4),
        ("operations = 1e41", ("larger than 1e40",), 4),
        ("operations = 1" + "0" * 41, ("larger than 1e40",), 4),
        ("operations = 1e99999999999999999999999", ("finite",), 4),
        ("operations = 1e-999999", ("smaller than 1e-40",), 4),
        ("tokens = 0", ("more than zero",), 4),
        ("context = 1\noperations = 1", ("write tokens beside it",), 4),
        ("tokens = 1\ncontext = 0", ("whole number",), 5),
        ("tokens = 1\ncontext = 2.5", ("whole number",), 5),
        ("[[run.phase]]\ncontext = 8192", ("has no tokens",), 4),
        ("phase = []", ("phase is empty",), 4),
        ("phase = {tokens = 1}", ("[[run.phase]]",), 4),
        ('operations = 1\nstarts_from = "b"', ("always a list", '["b"]'), 5),
        ("operations = 1\nstarts_from = {model = 1}", ("always a list",), 5),
        ('operations = 1\nstarts_from = [\n"b",\n]', ("no [[run]] has the id",), 6),
        ("operations = 1\nstarts_from = [1]", ("must be the id of a run",), 5),
        ('operations = 1\nstarts_from = ["a"]', ("circle",), 2),
        ("operations = 1\nstarts_from = [{published = true}]", ("model is missing",), 5),
        ('operations = 1\nstarts_from = [{model = "m", run = "b"}]', ("unknown key",), 5),
        ('operations = 1\nkind = "fine-tuning"', ("does not say what it starts from",), 2),
        ("operations = 1\nkind = 1", ("must be a string",), 5),
        ('operations = 1\ndata_complete = "yes"', ("true or false",), 5),
        ("operations = 1\n[[run.data]]\nshare = 1.1", ("over 1",), 6),
        ("operations = 1\n[[run.data]]\nshare = 0.6\n[[run.data]]\nshare = 0.5", ("add up to more than 1",), 8),
        ("operations = 1\n[[run.data]]\nshare = -0.1", ("negative",), 6),
        ("operations = 1\n[[run.data]]\npublished = true", ("has no share",), 5),
        ('operations = 1\n[[run.data]]\nshare = 0.1\ngenerator = "g"', ("no [[generator]] has the id",), 7),
        ("operations = 1\n[run.data]\nshare = 0.1", ("[[run.data]]",), 5),
        ("hardware = 1", ("must be a table",), 4),
        ("hardware = {count = 1, hours = 1}", ("device is missing",), 4),
        ('hardware = {device = "A100", hours = 1}', ("count is missing",), 4),
        ('hardware = {device = "A100", count = 0, hours = 1}', ("more than zero",), 4),
        ('hardware = {device = "A100", count = 1, hours = 1, utilisation = 40}', ("share of the dense peak",), 4),
        ('hardware = {device = "A100", count = 1, hours = 1, utilisation = 0}', ("share of the dense peak",), 4),
        ('hardware = {device = "A100", count = 1, hours = 1, utilization = 0.4}', ("did you mean utilisation?",), 4),
        ('operations = 1\n[[run]]\nid = "a"\noperations = 1', ("is taken", "line 2"), 6),
        ('operations = 1\n[[generator]]\nid = "g"\ntraining_runs = ["b"]', ("no [[run]] has the id",), 7),
        ('operations = 1\n[[generator]]\nid = "g"\ntraining_runs = "a"', ("list of run ids",), 7),
        ('operations = 1\n[[generator]]\nid = "g"\n[[generator]]\nid = "g"', ("is taken",), 8),
        ("operations = 1\n[[generator]]", ("id is missing",), 5),
        ('operations = 1\n[model]\nrun = "b"', ("no [[run]] has the id",), 6),
        ('operations = 1\n[model]\nrun = "A"', ("no [[run]] has the id",), 6),
        ("operations = 1\n[model]\nparameters = 1.5", ("whole number",), 6),
        ("operations = 1\n[model]\nparameters = 0", ("at least 1",), 6),
        ('operations = 1\n[model]\nfiles = {"a" = "b"}', ("64 hexadecimal",), 6),
        ("operations = 1\n[model]\nfiles = {}", ("files is empty",), 6),
        ('operations = 1\n[model]\nfiles = ["a"]', ("table of names and digests",), 6),
        ('operations = 1\nstarts_from = ["b", "b"]\n[[run]]\nid = "b"\noperations = 1', ("names one run twice",), 5),
        ('operations = 1\n[approval]\nby = "x"\ndate = 2027-02-01\nexpires = 2027-01-01', ("before its own date",), 8),
        ('operations = 1\n[model]\npath = "a"\nfiles = {"a" = "' + DIGEST + '"}', ("both path and files",), 7),
        ('operations = 1\n[origin]\ncountry = "usa"', ("two capital letters",), 6),
        ('operations = 1\n[approval]\nby = "x"', ("expires is missing",), 5),
        ('operations = 1\n[approval]\nexpires = 2027-01-01', ("by is missing",), 5),
        ('operations = 1\n[approval]\nby = "x"\nexpires = 2026-11-23', ("expired on 2026-11-23",), 7),
        ('operations = 1\n[approval]\nby = "x"\nexpires = "2027-01-01"', ("must be a date",), 7),
        ('operations = 1\n[approval]\nby = "x"\nexpires = 2027-01-01T00:00:00', ("must be a date",), 7),
    ],
)  # fmt: skip
def test_problem(body: str, words: tuple[str, ...], line: int) -> None:
    one_problem(body, *words, line=line)


def test_run_as_a_table_is_a_problem() -> None:
    assert problems(SCHEMA + '[run]\nid = "a"\noperations = 1\n') == [
        "w.toml:2: run must be an array of tables: write [[run]] above each"
    ]


def test_approval_holds_through_its_last_day() -> None:
    text = SCHEMA + '[approval]\nby = "x"\nexpires = 2026-11-24\n'
    assert load("w", text, AS_OF).approval is not None


def test_shares_may_add_up_to_one() -> None:
    shares = "".join("[[run.data]]\nshare = 0.1\n" for _ in range(10))
    assert len(run_with("operations = 1\n" + shares).runs["a"].data) == 10


def test_cycle_through_several_runs() -> None:
    text = "".join(f'[[run]]\nid = "{a}"\nstarts_from = ["{b}"]\noperations = 1\n' for a, b in ("ab", "bc", "ca"))
    found = problems(SCHEMA + text)
    assert len(found) == 1 and "circle" in found[0] and found[0].count("->") == 3


def test_cycle_through_a_generator() -> None:
    text = '[[run]]\nid = "a"\noperations = 1\n[[run.data]]\nshare = 0.5\ngenerator = "g"\n'
    text += '[[generator]]\nid = "g"\ntraining_runs = ["b"]\n'
    text += '[[run]]\nid = "b"\nstarts_from = ["a"]\noperations = 1\n'
    found = problems(SCHEMA + text)
    assert len(found) == 1 and "data generator goes in a circle" in found[0]


def test_a_generator_trained_by_earlier_runs_is_no_cycle() -> None:
    text = '[[run]]\nid = "a"\noperations = 1\n[[run]]\nid = "rl"\nstarts_from = ["a"]\noperations = 1\n'
    text += '[[run.data]]\nshare = 0.5\ngenerator = "g"\n[[generator]]\nid = "g"\ntraining_runs = ["a"]\n'
    assert load("w", SCHEMA + text, AS_OF).run == "rl"


def test_a_long_chain_needs_no_recursion() -> None:
    count = 4000
    runs = [
        f'[[run]]\nid = "{i}"\nstarts_from = {[str(i - 1)] if i else []}\noperations = 1\n'.replace("'", '"')
        for i in range(count)
    ]
    assert len(load("w", SCHEMA + "".join(runs), AS_OF).lineage()) == count


def test_too_large_or_too_deep_is_refused_before_parsing() -> None:
    assert "longer than" in problems("#" * (1 << 24))[0]
    assert "nested" in problems(SCHEMA + "a = " + "[" * 500)[0]
    assert "parts" in problems(SCHEMA + ".".join("a" * 5000) + " = 1")[0]
    assert "more than 100 characters" in problems(SCHEMA + "a = " + "9" * 5000)[0]


def test_messages_show_no_control_characters() -> None:
    found = problems(SCHEMA + '[model]\nrun = "\\u001b[31m\\n"\n[[run]]\nid = "a"\noperations = 1\n')
    assert all(text.isprintable() for text in found)


@given(st.text(max_size=300))
def test_any_text_is_a_declaration_or_a_configuration_error(text: str) -> None:
    try:
        load("w.toml", text, AS_OF)
    except ConfigurationError as error:
        assert all(problem.startswith("w.toml:") for problem in error.problems)


SNIPPETS = st.sampled_from([
    "[model]", "[[run]]", "[run]", "[[run.data]]", "[[run.phase]]", "[[generator]]", "[origin]", "[approval]",
    'id = "a"', "id = 1", 'run = "a"', "share = 0.5", "share = 2", "tokens = 1", "operations = [1, 2]",
    "operations = nan", "hardware = {}", "phase = 1", 'starts_from = ["a"]', "starts_from = [[]]",
    'generator = "a"', 'training_runs = ["a"]', "published = true", "published = []", "data = 1", "data = [1]",
    "files = 1", "expires = 2020-01-01", 'by = ""', 'a."b".c = 1', "date = 2026-01-01", "country = []",
])  # fmt: skip


@given(st.lists(SNIPPETS, max_size=14))
def test_any_mix_of_keys_is_a_declaration_or_a_configuration_error(lines: list[str]) -> None:
    try:
        load("w.toml", SCHEMA + "\n".join(lines), AS_OF)
    except ConfigurationError as error:
        assert all(problem.startswith("w.toml:") for problem in error.problems)


# ---- the template and the JSON Schema


@pytest.mark.parametrize("context", [None, 8192, 131072])
@pytest.mark.parametrize("name", ["acme-l-2", 'quotes " and \\', "line\nbreak \x00\x7f", "日本", "\ud800"])
def test_template_is_toml_that_loads_once_filled_in(name: str, context: int | None) -> None:
    text = template(name, 405_853_388_800, context)
    tomllib.loads(text)
    assert "FILL IN" not in text.replace('"FILL IN"', "") and len(problems(text)) == 1
    declaration = load("w", text.replace('"FILL IN"', "15.6e12"), AS_OF)
    assert declaration.parameters == 405_853_388_800 and declaration.run == "pretrain"
    assert declaration.runs["pretrain"].phases == (Phase(Fraction(156 * 10**11), context),)


def test_template_parts_load_where_they_are_uncommented() -> None:
    text = template("m", 7, 8192).replace('"FILL IN"', "1e12")
    lines = [
        line[2:] if line.startswith(("# [", "# id", "# share", "# gen", "# train", "# weights")) else line
        for line in text.split("\n")
    ]
    lines = [line for line in lines if not line.startswith(("[[run.phase", "[approval", "[origin", "[note_2"))]
    text = "\n".join(lines).replace('# kind = "fine', 'kind = "fine').replace('# starts_from = ["pre', 'starts_from = ["pre')
    text = text.replace("# operations = 4e23", "operations = 4e23").replace('run = "pretrain"', 'run = "sft"')
    declaration = load("w", text, AS_OF)
    assert [run.id for run in declaration.lineage()] == ["sft", "pretrain"] and "teacher" in declaration.generators


def schema_errors(text: str) -> list[Any]:
    jsonschema = pytest.importorskip("jsonschema")
    with open(
        os.path.join(os.path.dirname(weightguard.__file__), "schemas", "declaration.schema.json"), encoding="utf-8"
    ) as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return list(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(json.dumps(tomllib.loads(text), default=str))))


def test_json_schema_accepts_what_load_accepts() -> None:
    assert schema_errors(WHOLE) == []
    assert schema_errors(SCHEMA) == []
    assert schema_errors(template("m", 7, None).replace('"FILL IN"', "1e12")) == []
    assert schema_errors(f"{SCHEMA}[model]\npublished = {{{EVIDENCE}}}\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "operations = 1\ntokens = 1",
        "operations = -1",
        "operatoins = 1",
        'operations = 1\nstarts_from = "b"',
        "context = 1\noperations = 1",
    ],
)
def test_json_schema_refuses_what_load_refuses(body: str) -> None:
    text = f'{SCHEMA}[[run]]\nid = "a"\n{body}\n'
    assert schema_errors(text) and problems(text)
