"""Our figure for models whose training compute is published, from their shape and tokens, and from device hours.

python -m benchmarks.truth         needs nothing but weightguard; a second
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

from weightguard.evidence.declaration import Hardware
from weightguard.evidence.devices import hardware_operations
from weightguard.operations import plan
from weightguard.values import Interval

DATA = Path(__file__).parents[1] / "tests" / "operations" / "data"
_NOT_SHAPE = {"context", "halves", "layers_are", "layer_types", "blocks", "also_published"}
_PACKED = 2048  # tokens that a token sees of its document, in the mean, where a paper says nothing else


@dataclass(frozen=True)
class Row:
    """A model with a published figure, in operations, beside ours."""

    name: str
    published: Fraction
    ours: Interval
    by: str

    @property
    def ratio(self) -> float:
        return float((self.ours.best or Fraction(0)) / self.published)

    @property
    def inside(self) -> bool:
        return self.ours.low <= self.published and (self.ours.high is None or self.published <= self.ours.high)

    @property
    def width(self) -> float:
        return float((self.ours.high or Fraction(0)) / self.ours.low)


def by_shape() -> list[Row]:
    """Rows with layers, width, experts and tokens: the figure of the planning API. Those without a shape are left out by name."""
    hours = {row.name: row.ours for row in by_hours()}
    extra = tomllib.loads((DATA / "truth_shapes.toml").read_text())
    rows = []
    with (DATA / "models_truth.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if not line["published_flop"] or not line["tokens"] or not line["layers"] or not line["hidden"] or not line["ffn"]:
                continue
            more = extra.get(line["name"], {})
            if "layers_are" in more or not line["heads"]:
                continue
            found = plan(_config(line, more), tokens=Fraction(line["tokens"]), context=more.get("context", _PACKED))
            ours, by = found.operations, "tokens x shape"
            if line["name"] in hours:  # two pieces of evidence: the wider interval holds
                ours, by = _with_hours(ours, hours[line["name"]]), "tokens x shape and device hours"
            published = (
                Fraction(line["published_flop"]),
                *([Fraction(more["also_published"])] if "also_published" in more else []),
            )
            best = ours.best or Fraction(0)
            nearest = min(published, key=lambda p: max(p / best, best / p))
            rows.append(Row(line["name"], nearest, ours, by))
    return rows


def _with_hours(ours: Interval, hours: Interval) -> Interval:
    both = ours.union(hours)
    return Interval(both.low, ours.best, both.high)


def _config(line: Mapping[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    layers = int(line["layers"])
    config: dict[str, Any] = {
        "hidden_size": int(line["hidden"]),
        "num_attention_heads": int(line["heads"]),
        "num_key_value_heads": int(line["kv_heads"] or line["heads"]),
        "intermediate_size": int(line["ffn"]),
        "vocab_size": int(line["vocab"]),
        "tie_word_embeddings": line["tied"] == "yes",
        **{key: value for key, value in more.items() if key not in _NOT_SHAPE},
    }
    if line["head_dim"] and "kv_lora_rank" not in more:
        config["head_dim"] = int(line["head_dim"])
    if more.get("halves"):
        config |= {"num_layers": layers // 2, "num_decoder_layers": layers - layers // 2}
    else:
        config["num_hidden_layers"] = layers
    if int(line["experts"] or 0):
        config |= {"num_experts": int(line["experts"]), "moe_intermediate_size": int(line["ffn"])}
        config["num_experts_per_tok"] = int(line["experts_per_token"])
    if blocks := more.get("blocks"):
        config["layers_block_type"] = [kind for kind, n in blocks.items() for _ in range(n)]
    if pattern := more.get("layer_types"):
        names = {"L": "linear_attention", "F": "full_attention", "S": "mamba"}
        config["layer_types"] = [names[pattern[i % len(pattern)]] for i in range(layers)]
    return config


HOURS = (
    # name, device, device hours, precision, published operations, where the hours are said
    ("Llama 2 70B", "A100-80GB", 1_720_320, "bf16", "8.1e23", "arXiv:2307.09288 table 2"),
    ("Llama 2 7B", "A100-80GB", 184_320, "bf16", "8.4e22", "arXiv:2307.09288 table 2"),
    ("Llama 2 13B", "A100-80GB", 368_640, "bf16", "1.6e23", "arXiv:2307.09288 table 2"),
    ("Llama 3 8B", "H100-SXM", 1_300_000, "bf16", "7.2e23", "model card"),
    ("Llama 3 70B", "H100-SXM", 6_400_000, "bf16", "7.861e24", "model card"),
    ("Llama 3.1 70B", "H100-SXM", 7_000_000, "bf16", "7.929e24", "model card"),
    ("Llama 3.1 405B", "H100-SXM", 30_840_000, "bf16", "3.8e25", "model card"),
    ("Llama 3.1 8B", "H100-SXM", 1_460_000, "bf16", "1.224e24", "model card"),
    ("Phi-3.5-MoE", "H100-SXM", 512 * 23 * 24, "bf16", "3.02e23", "model card: 512 devices, 23 days"),
    ("LLaMA-65B", "A100-80GB", 1_022_362, "bf16", "5.5e23", "arXiv:2302.13971 table 15"),
    ("LLaMA-33B", "A100-80GB", 530_432, "bf16", "2.73e23", "arXiv:2302.13971 table 15"),
    ("Stable Diffusion v1", "A100-40GB", 150_000, "fp16", "5e22", "model card"),
    ("EU guidelines, model B", "A100", 200_000, "bf16", "1e23", "Annex A.3"),
    ("EU guidelines, model H", "H100-SXM", 370_000, "bf16", "6.5e23", "Annex A.3"),
)


def by_hours() -> list[Row]:
    """From device hours alone, at the prior utilisation."""
    rows = []
    for name, device, hours, precision, published, _ in HOURS:
        found, _ = hardware_operations(Hardware(device, Fraction(1), Fraction(hours), None, precision))
        rows.append(Row(name, Fraction(published), found, "device hours"))
    return rows


EXPLAINED: dict[str, str] = tomllib.loads((DATA / "truth_exceptions.toml").read_text())
"""Why the figure of each row that is further off than 1.15 times, or outside the interval, is."""


def summary(rows: list[Row]) -> dict[str, float]:
    """Shares of rows within 1.15 times and inside the interval, and the median of high / low."""
    return {
        "rows": len(rows),
        "within 1.15": sum(1 / 1.15 <= row.ratio <= 1.15 for row in rows) / len(rows),
        "inside": sum(row.inside for row in rows) / len(rows),
        "median high / low": median(row.width for row in rows),
    }


def main() -> None:
    shape, hours = by_shape(), by_hours()
    for rows in (shape, hours):
        for row in rows:
            odd = not row.inside or not 1 / 1.15 <= row.ratio <= 1.15
            why = EXPLAINED.get(row.name, "") if odd and row.by != "device hours" else ""
            low, high = float(row.ours.low), float(row.ours.high or 0)
            mark = " " if row.inside else "!"
            print(f"{row.name:28} {float(row.published):9.3g}  x {row.ratio:5.2f}  {low:9.3g} to {high:9.3g} {mark} {why}")
        print(json.dumps(summary(rows), indent=2))
    print(f"inside, of both: {sum(row.inside for row in shape + hours)} of {len(shape + hours)}")


if __name__ == "__main__":
    main()
