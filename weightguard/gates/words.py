"""What a gate says to whom it stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def why(content: Mapping[str, Any]) -> str:
    """One line of what a decision says, for a client that shows no more."""
    for m in content["report"]["models"]:
        if m["decision"] == "block":
            v = next((v for v in m["verdicts"] if v["status"] != "not_controlled"), None)
            text = f"{v['status']} under {v['clause']}" if v else "; ".join(m.get("missing", [])) or "a finding blocks it"
            return f"weightguard blocked {m['path']}: {text} (decision {content['id']})"
    for u in content["report"]["unread"]:
        return f"weightguard could not read {u['path']}: {u['reason']} (decision {content['id']})"
    return f"weightguard found no model to decide on (decision {content['id']})"
