"""`explain`: the tree and the page, from reports of real scans."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import weightguard
from tests.layouts import write_small
from weightguard.cli import main
from weightguard.report import Report
from weightguard.reports import derivation, html

VOID = {"meta", "input"}


class Checker(HTMLParser):
    """Fails on tags that don't nest; keeps what was met."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.met: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(report: Report) -> Checker:
    checker = Checker()
    checker.feed(html.render(report))
    checker.close()
    assert not checker.open
    return checker


@pytest.fixture
def report(tmp_path: Path) -> Report:
    folder = write_small(tmp_path / "m")
    (folder / "README.md").write_text("Trained on 300B tokens.")
    return weightguard.scan(str(folder))


def test_every_line_of_the_tree_hangs_on_its_parent(report: Report) -> None:
    lines = derivation.render(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert "ALLOW" in "".join(lines[:3])
    branches = [line for line in lines if re.match(r"[| ]*(?:\|-|`-) ", line)]
    assert any("forward operations a token" in line for line in branches)
    assert any('"Trained on 300B tokens"' in line or "300B" in line for line in lines)
    assert "4E091 Technical Note 2" in " ".join(" ".join(lines).replace("|", " ").split())
    assert derivation.render(report, derivation.UNICODE).count("└─ ") == derivation.render(report).count("`- ")


def test_shares_by_kind_of_layer_add_up(report: Report) -> None:
    [model] = report.models
    kinds = derivation.parts(model)
    assert model.forward_operations is not None
    assert sum(value for _, value, _ in kinds) == model.forward_operations.matmul
    assert math.isclose(sum(share for _, _, share in kinds), 1)


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(report: Report) -> None:
    page = html.render(report)
    checker = parsed(report)
    tags = {tag for tag, _ in checker.met}
    assert {"svg", "table", "details", "style"} <= tags and not tags & {"link", "img", "iframe"}
    assert [attributes for tag, attributes in checker.met if tag == "script"] == [{}]  # one, of the page's own
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|document\.write", page.partition("<script>")[2])
    assert not any(value and "//" in value for _, attributes in checker.met for value in attributes.values())
    assert page == html.render(report)


def test_the_interval_is_drawn_where_it_is(report: Report) -> None:
    """Positions recomputed: share of the decades between the axis' ends, from 20 to 700."""
    [model] = report.models
    interval = model.training_operations.interval
    assert interval.high is not None and interval.best is not None
    checker = parsed(report)
    axis = re.search(r"10\^(-?\d+) to 10\^(-?\d+)", " ".join(checker.words))
    assert axis is not None
    first, last = int(axis[1]), int(axis[2])

    def x(value: float) -> float:
        return 20 + 680 * (math.log10(value) - first) / (last - first)

    [bar] = [a for tag, a in checker.met if tag == "rect" and a.get("class") == "interval"]
    assert float(bar["x"] or 0) == pytest.approx(20, abs=0.1)  # from 0
    assert float(bar["x"] or 0) + float(bar["width"] or 0) == pytest.approx(x(float(interval.high)), abs=0.2)
    [best] = [a for tag, a in checker.met if tag == "line" and a.get("class") == "best"]
    assert float(best["x1"] or 0) == pytest.approx(x(float(interval.best)), abs=0.1)
    [threshold] = [a for tag, a in checker.met if tag == "line" and a.get("class") == "threshold"]
    assert float(threshold["x1"] or 0) == pytest.approx(x(1e26), abs=0.1)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "<script>alert(1)</script>\x1b[31m")
    page = html.render(weightguard.scan(str(folder)))
    assert page.count("<script") == 1 and "\x1b" not in page and "&lt;script&gt;" in page
    parsed(weightguard.scan(str(folder)))


def test_no_upper_bound_reaches_the_edge(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}')
    checker = parsed(weightguard.scan(str(folder)))
    bars = [a for tag, a in checker.met if tag == "rect" and a.get("class") == "interval"]
    assert any(float(bar["x"] or 0) + float(bar["width"] or 0) == pytest.approx(700, abs=0.1) for bar in bars)
    assert "no upper bound" in checker.words


def test_explain_writes_a_page_or_says_why_it_can_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_small(tmp_path / "m")
    page = tmp_path / "page.html"
    assert main(["explain", str(folder), "--format", "html", "-o", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert main(["explain", str(folder), "-o", str(tmp_path / "no" / "page")]) == 2
    assert "can't write the derivation" in capsys.readouterr().err
