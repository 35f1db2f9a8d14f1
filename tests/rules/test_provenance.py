"""The law's data files: every entry has its source, unknown keys and words are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightguard.rules import provenance

VALUE = """
[[value]]
id = "a"
value = 1e26
unit = "operations"
comparison = ">="
citation = "X"
source = "S"
confidence = "verbatim"
in_force_from = 2025-01-13
checked_on = 2026-11-24
"""
EVENT = """
[[{list}]]
date = {date}
text = "t"
source = "s"
confidence = "secondary"
"""


def test_value_compares_as_its_sentence_does(tmp_path: Path) -> None:
    (tmp_path / "values.toml").write_text(VALUE)
    value = provenance.values(str(tmp_path))["a"]
    assert value.meets(value.value) and not value.meets(value.value - 1)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (">=", "=>", ValueError),
        ("verbatim", "sure", ValueError),
        ("unit =", "units =", TypeError),
        ('source = "S"\n', "", TypeError),
    ],
)
def test_loader_refuses_what_it_does_not_know(tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
    (tmp_path / "values.toml").write_text(VALUE.replace(old, new))
    with pytest.raises(error):
        provenance.values(str(tmp_path))


def test_status_must_be_in_the_order_of_its_dates(tmp_path: Path) -> None:
    days = ("2026-01-01", "2025-01-01")
    text = "checked_on = 2026-11-24\n" + "".join(EVENT.format(list="legal", date=day) for day in days)
    (tmp_path / "status.toml").write_text(text + EVENT.format(list="enforcement", date=days[0]))
    with pytest.raises(ValueError, match="order of their dates"):
        provenance.standing(str(tmp_path))
