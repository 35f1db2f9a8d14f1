"""The report as a CycloneDX 1.6 or 1.7 ML-BOM (ECMA-424): a component a model, the operations as a metric with its interval, the
decision as a claim.

The model card has no field for a parameter count or training operations: they are `properties` under `weightguard:`.
"""

from __future__ import annotations

import json
from typing import Any

from weightguard.report import ModelReport, Report
from weightguard.values import Operations

VERSION = "1.6"


def render(report: Report, version: str = VERSION) -> str:
    """Indented JSON with a final newline; without time stamp and serial number, so the same bytes for the same report."""
    names = [f"model-{n}" for n in range(1, len(report.models) + 1)]
    content: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "weightguard", "version": report.version}]},
            "properties": [_property("decision", report.decision), _property("unread", len(report.unread))],
        },
        "components": [_component(m, ref) for m, ref in zip(report.models, names, strict=True)],
    }
    if report.models:
        content["declarations"] = _declarations(report, names)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _component(m: ModelReport, ref: str) -> dict[str, Any]:
    a = m.architecture
    parameters: dict[str, Any] = {"architectureFamily": a.model_type} if a is not None and a.model_type else {}
    if a is not None:
        parameters["modelArchitecture"] = f"{a.layers} layers, hidden size {a.hidden_size}"
    hashes = [(f.path, f.sha256) for f in m.files if f.sha256 is not None]
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": m.name or m.path,
        "modelCard": {
            "modelParameters": parameters,
            "quantitativeAnalysis": {"performanceMetrics": [_metric(m.training_operations)]},
        },
        "properties": [
            _property("path", m.path),
            _property("complete", str(m.complete).lower()),
            _property("parameters:total", m.parameters.total),
            _property("parameters:active", m.parameters.active),
            _property("decision", m.decision),
            *(_property(f"{v.regime}:status", v.status) for v in m.verdicts),
            *(_property(f"{v.regime}:clause", v.clause) for v in m.verdicts),
        ],
    }
    if len(hashes) == len(m.files) == 1:
        component["hashes"] = [{"alg": "SHA-256", "content": hashes[0][1]}]
    return component


def _metric(o: Operations) -> dict[str, Any]:
    high = "unbounded" if o.interval.high is None else f"{float(o.interval.high):.6g}"
    metric: dict[str, Any] = {
        "type": "training operations (ECCN 4E091, Technical Note 2)",
        "confidenceInterval": {"lowerBound": f"{float(o.interval.low):.6g}", "upperBound": high},
    }
    if o.interval.best is not None:
        metric["value"] = f"{float(o.interval.best):.6g}"
    return metric


def _declarations(report: Report, names: list[str]) -> dict[str, Any]:
    """The verdicts as claims about the components, and the attestation that makes them."""
    claims = [
        {
            "bom-ref": f"{ref}-{v.regime}",
            "target": ref,
            "predicate": f"{v.regime}: {v.status}, {v.clause}",
            "reasoning": v.reason,
        }
        for m, ref in zip(report.models, names, strict=True)
        for v in m.verdicts
    ]
    return {
        "assessors": [{"bom-ref": "weightguard", "thirdParty": False, "organization": {"name": "weightguard"}}],
        "attestations": [
            {
                "summary": "An aid to self-classification, not legal advice and not a determination by BIS.",
                "assessor": "weightguard",
                "map": [{"claims": [claim["bom-ref"] for claim in claims]}],
            }
        ],
        "claims": claims,
    }


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"weightguard:{name}", "value": str(value)}
