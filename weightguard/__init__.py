"""weightguard: what a checkpoint holds, what it took to train, and whether an export rule controls it.

report = weightguard.scan("path/to/checkpoint")
report.models[0].parameters.total
report.decision                              # "allow" or "block"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightguard.version import VERSION

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from weightguard.policy import Policy
    from weightguard.report import Report


def scan(
    *targets: str,
    policy: Policy | str | None = None,
    declarations: Sequence[str] = (),
    as_of: datetime.date | None = None,
) -> Report:
    """Scan files and folders; the same content as the JSON report.

    policy: a `Policy`, the path of a policy file, or None for the built-in one (no search of the file system).
    declarations: paths of training declarations. as_of: the day whose law holds, today if None.
    Raises `weightguard.errors.ConfigurationError` for a target, policy or declaration that the caller must mend.
    """
    import datetime

    from weightguard.evidence.attached import read_given
    from weightguard.pipeline import Request
    from weightguard.pipeline import scan as run
    from weightguard.policy import built_in, load_given

    if policy is None:
        policy = built_in()
    elif isinstance(policy, str):
        policy = load_given(policy)
    texts = [read_given(path) for path in declarations]
    return run(Request([str(t) for t in targets], policy, as_of or datetime.date.today(), texts))


__version__ = VERSION

__all__ = ["__version__", "scan"]
