"""The state of a sweep, in SQLite: what was listed, what is decided, what is left. One writer at a time.

A folder's rows are written in one transaction, so a sweep that dies at any moment has each object once or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

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
_BETWEEN = "select uri, size, version, sha256 from seen where uri > ? and uri <= ?"
_AGAIN = """insert or ignore into todo select distinct unit from rows
  where unit in (select unit from folders) and (kind = 'unread'
  and reason in ('unavailable', 'permission', 'changed', 'missing', 'internal', 'unsupported')
  or decision = 'allow' and status not in ('', 'not_controlled'))"""  # what a store refused; what an approval lifts until it expires
_NEXT = "select unit from todo where ?1 is null or unit > ?1 order by unit limit 1000"
_INSERT = "insert or replace into rows values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PIPELINES = "select uri from seen where uri = ? or uri like ?"
_DECLARED = """insert or ignore into todo select distinct unit from folders join seen using (folder)
  where uri like '%weightguard.toml' or uri like '%weightguard.toml.sig'"""
_LOST = "select uri from seen where uri not in (select uri from rows) limit 1"
_TABLES = ("rows", "todo", "seen", "folders", "terms")
_PAGE = 5_000
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

    def forget(self, **terms: str) -> None:
        """Everything that was decided by other terms; these hold from now on."""
        with self._writing(), self._transaction():
            for table in _TABLES:
                self._db.execute(f"delete from {table}")  # noqa: S608 names of ours
            self._db.executemany("insert into terms values (?, ?)", terms.items())

    # ---- the listing

    def listed(self, objects: Iterable[Object], *, declared_again: bool) -> int:
        """Take a whole listing, in the order of its URIs, and note the units that it changes; returns how many objects there are.

        declared_again: what holds a declaration is decided again, which may end on a day.
        """
        with self._writing(), self._transaction():
            new, gone, count = self._differences(objects)
            if new or gone:
                self._note_changes(new, gone)
            self._db.execute(_AGAIN)
            if declared_again:
                self._db.execute(_DECLARED)
        return count

    def _differences(self, objects: Iterable[Object]) -> tuple[set[str], set[str], int]:
        """Folders of new or changed objects, and of those that are gone; `seen` is the listing then."""
        new: set[str] = set()
        gone: set[str] = set()
        last, count = "", 0
        for page in _pages(objects):
            uris = [o.uri for o in page]
            if uris[0] <= last or any(a >= b for a, b in pairwise(uris)):
                raise ConfigurationError(f"{page[0].uri}: the store lists its objects out of order: it can't be swept")
            known = {row[0]: row for row in self._db.execute(_BETWEEN, (last, uris[-1]))}
            changed = [(*o, o.uri.rpartition("/")[0]) for o in page if known.pop(o.uri, None) != o]
            new |= {row[-1] for row in changed}
            self._db.executemany("insert or replace into seen values (?, ?, ?, ?, ?)", changed)
            gone |= self._forget_objects(known)
            last, count = uris[-1], count + len(page)
        gone |= self._forget_objects([uri for (uri,) in self._db.execute("select uri from seen where uri > ?", (last,))])
        return new, gone, count

    def _forget_objects(self, uris: Iterable[str]) -> set[str]:
        self._db.executemany("delete from seen where uri = ?", [(uri,) for uri in uris])
        return {uri.rpartition("/")[0] for uri in uris}

    def _note_changes(self, new: set[str], gone: set[str]) -> None:
        db = self._db
        before = dict(db.execute("select folder, unit from folders"))
        pipelines = {u.rpartition("/")[0] for (u,) in db.execute(_PIPELINES, (PIPELINE, f"%/{PIPELINE}"))}
        after = {folder: unit_of(folder, pipelines) for (folder,) in db.execute("select distinct folder from seen")}
        wanted = {after[folder] for folder in new} | {before[folder] for folder in gone if folder in before}
        for folder in before.keys() | after.keys():
            units = {before.get(folder), after.get(folder)} - {None}
            if len(units) == 2 or not units.isdisjoint(wanted):  # a model_index.json came or went
                wanted |= {unit for unit in units if unit is not None}
        db.execute("delete from folders")
        db.executemany("insert into folders values (?, ?)", after.items())
        db.executemany("insert or ignore into todo values (?)", ((unit,) for unit in wanted))

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
            self._db.executemany(_INSERT, map(_storable, rows))
            self._db.executemany("delete from todo where unit = ?", named)

    def lost(self) -> str:
        """An object that was listed and has no row, or "": that never is, unless somebody wrote to the state."""
        found = self._db.execute(_LOST).fetchone() if not self.left()[0] else None
        return str(found[0]) if found else ""

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


def _storable(row: Row) -> tuple[object, ...]:
    """A row as SQLite takes it: text that is Unicode, integers of 64 bits."""
    return tuple(
        value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else min(value, (1 << 63) - 1)
        if isinstance(value, int)
        else value
        for value in row
    )


def _pages(objects: Iterable[Object]) -> Iterator[list[Object]]:
    going = iter(objects)
    while page := list(islice(going, _PAGE)):
        yield page


def _hold(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
