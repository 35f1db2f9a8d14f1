"""The report as JSON, schema weightguard/report/1 (`schemas/report.schema.json`). The same input gives the same bytes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from weightguard.architecture.describe import Architecture
from weightguard.operations.forward import Forward
from weightguard.report import ModelReport, Report
from weightguard.values import Finding, License, Operations, Term, Verdict

SCHEMA = "weightguard/report/1"


def render(report: Report) -> str:
    """Indented JSON with a final newline; control characters escaped, numbers finite."""
    return json.dumps(as_dict(report), indent=2, allow_nan=False) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "schema": SCHEMA,
        "tool": {"name": "weightguard", "version": report.version},
        "policy": dict(report.policy),
        "models": [_model(m) for m in report.models],
        "unread": [{"path": u.path, "reason": u.reason, "detail": u.detail} for u in report.unread],
        "findings": [_finding(f) for f in report.findings],
        "summary": {
            "models": len(report.models),
            "allowed": len(report.models) - report.blocked,
            "blocked": report.blocked,
            "unread": len(report.unread),
            "other": report.other,
            "files": report.files,
            "bytes": report.bytes,
        },
    }


def down(value: Fraction | None) -> float | int | None:
    """The nearest number that JSON can carry, not above the exact one."""
    return _rounded(value, -math.inf)


def up(value: Fraction | None) -> float | int | None:
    """The nearest number that JSON can carry, not below the exact one."""
    return _rounded(value, math.inf)


def _rounded(value: Fraction | None, towards: float) -> float | int | None:
    if value is None:
        return None
    if value.denominator == 1 and abs(value) < 1 << 53:
        return int(value)
    number = float(value)
    if (Fraction(number) > value) if towards < 0 else (Fraction(number) < value):
        number = math.nextafter(number, towards)
    return number


def _near(value: Fraction | None) -> float | int | None:
    if value is None:
        return None
    return int(value) if value.denominator == 1 and abs(value) < 1 << 53 else float(value)


def _model(m: ModelReport) -> dict[str, Any]:
    p = m.parameters
    return {
        "name": m.name,
        "path": m.path,
        "complete": m.complete,
        "files": [{"path": f.path, "format": f.format, "bytes": f.bytes, "sha256": f.sha256} for f in m.files],
        "parameters": {
            "total": p.total,
            "active": p.active,
            "stored_elements": p.stored_elements,
            "by_role": dict(p.by_role),
            "by_dtype": dict(p.by_dtype),
            "quantization": p.quantization,
        },
        "architecture": _architecture(m.architecture),
        "forward_operations": _forward(m.forward_operations),
        "training_operations": _operations(m.training_operations),
        "verdicts": [_verdict(v) for v in m.verdicts],
        "decision": m.decision,
        "lineage": [],
        "findings": [_finding(f) for f in m.findings],
    }


def _architecture(a: Architecture | None) -> dict[str, Any] | None:
    if a is None:
        return None
    return {
        "model_type": a.model_type or None,
        "layers": a.layers,
        "hidden_size": a.hidden_size,
        "attention_heads": a.attention.heads if a.attention else None,
        "key_value_heads": (a.key_value_heads or a.attention.heads) if a.attention else None,
        "query_key_width": a.attention.qk if a.attention else None,
        "value_width": a.attention.v if a.attention else None,
        "intermediate_size": a.intermediate_size or None,
        "vocabulary": a.vocab_size,
        "experts": int(a.experts.max()) if int(a.experts.max()) > 1 else 0,
        "experts_per_token": a.experts_per_token,
        "windowed_layers": int((a.window > 0).sum()),
        "context": a.context,
        "tied_embeddings": a.tied,
        "source": a.source,
    }


def _forward(f: Forward | None) -> dict[str, Any] | None:
    if f is None:
        return None
    return {
        "unit": f.unit,
        "matmul_per_token": f.matmul,
        "attention_per_token_per_key": f.attention,
        "matmul_range": list(f.matmul_range),
        "terms": [_term(t) for t in f.terms],
    }


def _operations(o: Operations) -> dict[str, Any]:
    return {
        "low": down(o.interval.low),
        "best": _near(o.interval.best),
        "high": up(o.interval.high),
        "method": o.method,
        "terms": [_term(t) for t in o.terms],
        "evidence": [
            {
                "quantity": c.quantity,
                "low": down(c.low),
                "high": up(c.high),
                "source": c.source,
                "where": c.where,
                "trust": c.trust,
            }
            for c in o.evidence
        ],
        "assumptions": list(o.assumptions),
        "distribution": None if o.distribution is None else asdict(o.distribution),
    }


def _term(t: Term) -> dict[str, Any]:
    return {"label": t.label, "value": _near(t.value), "unit": t.unit, "formula": t.formula, "source": t.source}


def _verdict(v: Verdict) -> dict[str, Any]:
    return {
        "regime": v.regime,
        "status": v.status,
        "clause": v.clause,
        "reason": v.reason,
        "conditions": list(v.conditions),
        "to_settle": list(v.to_settle),
        "not_assessed": list(v.not_assessed),
        "law": {
            "text_as_of": v.law.text_as_of.isoformat(),
            "status": v.law.status,
            "enforcement": v.law.enforcement,
            "enforcement_as_of": v.law.enforcement_as_of.isoformat(),
        },
        **({} if v.license is None else {"license": _license(v.license)}),
    }


def _license(x: License) -> dict[str, Any]:
    return {"answer": x.answer, "clause": x.clause, "reason": x.reason, "review": x.review or None}


def _finding(f: Finding) -> dict[str, Any]:
    return {"id": f.id, "severity": f.severity, "message": f.message, "path": f.path}
