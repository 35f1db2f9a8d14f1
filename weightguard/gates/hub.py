"""In front of the Hugging Face Hub: `GatedHfApi` judges what is to be uploaded before any byte of it leaves.

It covers every public method of `HfApi` that takes local bytes (`GATED`); a test compares the newest `huggingface_hub` with what
was reviewed here. Client-side, so a courtesy: whoever imports `HfApi` instead is not stopped.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

from weightguard.gates.stop import Blocked, check
from weightguard.policy import Policy

GATED = frozenset(
    "upload_file upload_folder create_commit preupload_lfs_files upload_attachment batch_bucket_files sync_bucket"
    " sync_job_volume".split()
)
REVIEWED = frozenset(
    # names that sound like an upload, of methods that send no local bytes
    "copy_files create_branch delete_file delete_files delete_folder duplicate_repo list_repo_commits move_bucket move_repo"
    " super_squash_history".split()
)
SOUNDS_LIKE = re.compile(r"upload|commit|push|sync|batch|send|put_|attach|copy|duplicate|move|squash|create_branch|delete_f")
_Source = str | Path | bytes


class GatedHfApi(HfApi):  # type: ignore[misc]
    """`HfApi` that raises `Blocked` before an upload of weights that must not leave. Takes `HfApi`'s arguments.

    weightguard_policy: a `Policy`, a policy file's path, or None for the built-in one. weightguard_declarations: paths of the
    training declarations that may clear; what lies beside the weights never does.
    """

    def __init__(
        self,
        *args: Any,
        weightguard_policy: Policy | str | None = None,
        weightguard_declarations: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._policy = weightguard_policy
        self._declarations = tuple(weightguard_declarations)

    def upload_folder(self, *, folder_path: str | Path, **kwargs: Any) -> Any:
        """As `HfApi.upload_folder`, once every file that it would send is allowed."""
        if kwargs.pop("run_as_future", False):  # judged when it is sent, not when it is asked for
            return self.run_as_future(self.upload_folder, folder_path=folder_path, **kwargs)
        folder = Path(folder_path).expanduser().resolve()
        if not folder.is_dir():
            raise ValueError(f"{folder_path}: is no folder")
        self.check(_filtered(folder, kwargs.get("allow_patterns"), kwargs.get("ignore_patterns")))
        return super().upload_folder(folder_path=folder, **kwargs)

    def create_commit(self, repo_id: str, operations: Iterable[Any], **kwargs: Any) -> Any:
        """As `HfApi.create_commit`, which `upload_file` calls, once everything that it adds is allowed."""
        if kwargs.pop("run_as_future", False):
            return self.run_as_future(self.create_commit, repo_id, operations, **kwargs)
        held = list(operations)
        self._check_additions(op for op in held if isinstance(op, CommitOperationAdd))
        return super().create_commit(repo_id, held, **kwargs)

    def preupload_lfs_files(self, repo_id: str, additions: Iterable[CommitOperationAdd], **kwargs: Any) -> None:
        """As `HfApi.preupload_lfs_files`, once everything that it adds is allowed."""
        held = list(additions)
        self._check_additions(held)
        super().preupload_lfs_files(repo_id, held, **kwargs)

    def upload_attachment(self, path: str | Path, **kwargs: Any) -> Any:
        """As `HfApi.upload_attachment`, once the file is allowed."""
        self.check([os.fspath(path)])
        return super().upload_attachment(path, **kwargs)

    def batch_bucket_files(self, bucket_id: str, *, add: list[tuple[_Source, str]] | None = None, **kwargs: Any) -> Any:
        """As `HfApi.batch_bucket_files`, once everything that it adds is allowed."""
        self._check_sources((source, name) for source, name in add or ())
        return super().batch_bucket_files(bucket_id, add=add, **kwargs)

    def sync_bucket(self, source: str | None = None, dest: str | None = None, **kwargs: Any) -> Any:
        """As `HfApi.sync_bucket`, once the local folder is allowed; a saved plan is refused, because it names its files elsewhere."""
        if kwargs.get("apply") is not None:
            raise Blocked("weightguard can't judge a saved plan: call sync_bucket(source, dest) instead")
        if source is not None and not source.startswith("hf://"):
            self.check([source])
        return super().sync_bucket(source, dest, **kwargs)

    def sync_job_volume(self, source: str | Path, mount_path: str, **kwargs: Any) -> Any:
        """As `HfApi.sync_job_volume`, once the local folder is allowed."""
        self.check([os.fspath(source)])
        return super().sync_job_volume(source, mount_path, **kwargs)

    # ---- what is judged

    def check(self, targets: Sequence[str]) -> None:
        """Raises `Blocked` unless all of these files and folders are allowed and read."""
        if targets:
            check(targets, self._policy, self._declarations)

    def _check_additions(self, additions: Iterable[CommitOperationAdd]) -> None:
        """Those that `preupload_lfs_files` sent are judged already, and hold nothing any more."""
        kept = [op for op in additions if not (getattr(op, "_is_uploaded", False) and op.path_or_fileobj == b"")]
        self._check_sources((op.path_or_fileobj, op.path_in_repo) for op in kept)

    def _check_sources(self, sources: Iterable[tuple[Any, str]]) -> None:
        """Paths where they lie, with what lies beside them; bytes and file objects as temporary files of their names."""
        with tempfile.TemporaryDirectory(prefix="weightguard-") as folder:
            self.check(list(_targets(sources, folder)))


def _targets(sources: Iterable[tuple[Any, str]], folder: str) -> Iterator[str]:
    for n, (source, name) in enumerate(sources):
        if isinstance(source, (str, Path)):
            yield os.fspath(source)
            continue
        parts = [part for part in name.split("/") if part not in ("", ".", "..")] or ["unnamed"]
        path = os.path.join(folder, "files", *parts)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(path, "xb")  # noqa: SIM115 closed below
        except OSError:  # a name that stands there, or that this system can't have
            os.makedirs(os.path.join(folder, str(n)))
            path = os.path.join(folder, str(n), parts[-1][-100:])
            file = open(path, "xb")  # noqa: SIM115
        with file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                at = source.tell()
                source.seek(0)  # a client may send all of it, wherever it stands
                while block := source.read(1 << 20):
                    file.write(block)
                source.seek(at)
        yield path


def _filtered(top: Path, allow: Any, ignore: Any) -> list[str]:
    """The files below a folder that its patterns let through, and the client's own, which leave out git's and its cache's."""
    paths = sorted(path.relative_to(top).as_posix() for path in top.glob("**/*") if path.is_file())  # as the client lists them
    ignored = [*([ignore] if isinstance(ignore, str) else ignore or ()), *DEFAULT_IGNORE_PATTERNS]
    kept = filter_repo_objects(paths, allow_patterns=allow, ignore_patterns=ignored)
    return [os.path.join(top, path) for path in kept]
