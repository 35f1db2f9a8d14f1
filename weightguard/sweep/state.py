"""The state of a sweep, in SQLite: what was listed, what is decided, what is left. One writer at a time.

A folder's rows are written in one transaction, so a sweep that dies at any moment has each object once or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from weightguard.errors import ConfigurationError
from weightguard.models import PIPELINE
from weightguard.models.units import unit_of
from weightguard.sweep.rows import Object, Row

_SCHEMA = """
create table if not exists terms (name text primary key, value text) without rowid;
create table if not exists rows (
  uri text primary key, size integer, version text, unit text, kind text, format text, model text, decision text, status text,
  clause text, parameters integer, operations_low real, operations_high real, reason text, detail text) without rowid;
create index if not exists rows_by_unit on rows (unit);
create table if not exists seen (uri text primary key, size integer, version text, sha256 text, folder text) without rowid;
create index if not exists seen_by_folder on seen (folder);
create table if not exists todo (unit text primary key) without rowid;
create table if not exists folders (folder text primary key, unit text) without rowid;
create index if not exists folders_by_unit on folders (unit);
"""
_CHANGED = """select distinct folder from seen left join rows using (uri)
  where rows.uri is null or rows.size != seen.size or rows.version != seen.version"""
_GONE = "select distinct unit from rows where not exists (select 1 from seen where seen.uri = rows.uri)"
_NEXT = "select unit from todo where ?1 is null or unit > ?1 order by unit limit 1000"
_INSERT = "insert or replace into rows values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAGE = 10_000
FILE = "sweep.sqlite"


class State:
    """An open state. Every method raises `ConfigurationError` where the disk refuses."""

    def __init__(self, folder: str) -> None:
        """Open or create below a folder. Raises `ConfigurationError` where another sweep holds it."""
        self.path = os.path.join(folder, FILE)
        try:
            os.makedirs(folder, exist_ok=True)
            self._lock = open(os.path.join(folder, "lock"), "a")  # noqa: SIM115 held as long as the sweep runs
            _hold(self._lock.fileno())
        except BlockingIOError:
            raise ConfigurationError(f"{folder}: another sweep is writing there") from None
        except OSError as error:
            raise ConfigurationError(f"{folder}: can't keep the state of a sweep there: {error.strerror}") from error
        with self._writing():
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.executescript("pragma journal_mode=wal; pragma synchronous=normal; pragma temp_store=file;" + _SCHEMA)

    # ---- what is decided by

    def terms(self) -> dict[str, str]:
        return dict(self._db.execute("select name, value from terms"))

    def set_terms(self, **terms: str) -> None:
        with self._writing():
            self._db.executemany("insert or replace into terms values (?, ?)", terms.items())

    def forget(self) -> None:
        """Everything that was decided: by other terms, or of another store."""
        with self._writing():
            self._db.executescript("delete from rows; delete from todo; delete from terms;")

    # ---- the listing

    def listed(self, objects: Iterable[Object]) -> int:
        """Take a whole listing, and find out which units have changed since they were decided; returns how many objects."""
        with self._writing(), self._transaction():
            self._db.execute("delete from seen")
            count = 0
            page: list[tuple[str, int, str, str, str]] = []
            for o in objects:
                page.append((*o, o.uri.rpartition("/")[0]))
                if len(page) == _PAGE:
                    self._db.executemany("insert or replace into seen values (?, ?, ?, ?, ?)", page)
                    count += len(page)
                    page.clear()
            self._db.executemany("insert or replace into seen values (?, ?, ?, ?, ?)", page)
            self._find_changes()
        return count + len(page)

    def _find_changes(self) -> None:
        """Which units are to be decided."""
        db = self._db
        changed = {folder for (folder,) in db.execute(_CHANGED)}
        gone = {unit for (unit,) in db.execute(_GONE)}
        if not changed and not gone:
            db.execute("delete from todo")
            return
        pipelines = {u.rpartition("/")[0] for (u,) in db.execute("select uri from seen where uri like ?", (f"%/{PIPELINE}",))}
        units = {folder: unit_of(folder, pipelines) for (folder,) in db.execute("select distinct folder from seen")}
        db.execute("delete from folders")
        db.executemany("insert into folders values (?, ?)", units.items())
        wanted = gone | {units[folder] for folder in changed}
        # what a unit held may be units of their own now
        within = tuple(f"{unit}/" for unit in gone)
        wanted |= {unit for folder, unit in units.items() if folder in gone or (within and folder.startswith(within))}
        db.execute("delete from todo")
        db.executemany("insert into todo values (?)", ((u,) for u in wanted))

    # ---- the work

    def left(self) -> tuple[int, int]:
        """Units and objects that are to be decided."""
        found = self._db.execute(
            "select count(distinct unit), count(*) from todo join folders using (unit) join seen using (folder)"
        ).fetchone()
        return int(found[0]), int(found[1])

    def shards(self, objects: int) -> Iterator[dict[str, list[Object]]]:
        """The units that are to be decided, whole, in shards of about so many objects."""
        shard: dict[str, list[Object]] = {}
        held = 0
        last = None
        while units := [u for (u,) in self._db.execute(_NEXT, (last,))]:
            for unit in units:
                found = self.objects(unit)
                if held and held + len(found) > objects:
                    yield shard
                    shard, held = {}, 0
                shard[unit] = found
                held += len(found)
            last = units[-1]
        if shard:
            yield shard

    def objects(self, unit: str) -> list[Object]:
        sql = "select uri, size, version, sha256 from seen join folders using (folder) where unit = ? order by uri"
        return [Object(*row) for row in self._db.execute(sql, (unit,))]

    def decided(self, units: Iterable[str], rows: Sequence[Row]) -> None:
        """The rows of whole units, in place of those before, in one transaction."""
        named = [(u,) for u in units]
        with self._writing(), self._transaction():
            self._db.executemany("delete from rows where unit = ?", named)
            self._db.executemany(_INSERT, rows)
            self._db.executemany("delete from todo where unit = ?", named)

    # ---- the table

    def rows(self) -> Iterator[list[tuple[object, ...]]]:
        """All rows in the order of their URIs, in pages."""
        cursor = self._db.execute("select * from rows order by uri")
        while page := cursor.fetchmany(_PAGE):
            yield page

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return list(self._db.execute(sql, values))

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._lock.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")
            raise
        self._db.execute("commit")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            text = f"{self.path}: can't write the state ({error}); what is decided is kept: make room and run it again with --resume"
            raise ConfigurationError(text) from error


def _hold(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
