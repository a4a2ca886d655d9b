"""Publications: how several tables change as one, and how a reader sees the tables of one moment.

Delta makes one table atomic; a model, an index or a crawl are several. A job writes its tables first, under a stamp of
its own, and then adds one row to `publications`, which names their versions: that commit is the moment of change. A
job that dies before it has changed nothing for readers, and of two that race the later publication wins whole.

Readers open a lake once (`Publications.read`) and take every table at the version published then, or at a later one if
the commits between changed no rows (OPTIMIZE, VACUUM, SET TBLPROPERTIES, …). Places are kept relative to the lake, so
that a lake may be moved. The decisions are in docs/adr/0040.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakerank.cli.errors import UserError
from lakerank.cli.files import flush_to_disk
from lakerank.lake.delta_arrow import ArrowSink, ArrowTable, GetSpark
from lakerank.lake.delta_table import TableRef, TableSink, again, is_catalog_name
from lakerank.lake.schemas import ITEMS, LINKS, PAGES, PUBLICATIONS, RATINGS, RATINGS_REJECTED, TAGS, Relation
from lakerank.lake.table_log import Commit, TableLog

_STAMP = "lakerank"  # first word of the stamps of commits that count only once they are published
_TURNS = 5  # until others are done
_FILES = 64  # of `publications`, that are then made one: each row comes in a file of its own
# What others may add to, correct and delete from, row by row; all else is used as it was made or not at all.
_KEPT_BY_OTHERS = frozenset(r.name for r in (RATINGS, RATINGS_REJECTED, ITEMS, TAGS, PAGES, LINKS))


@dataclass(frozen=True)
class Member:
    """One table of a publication.

    Attributes:
        name: the relation's.
        place: where the table is; `./` at its beginning stands for the lake.
        id: the table's own, which no table made anew in the same place has.
        version: that was published.
    """

    name: str
    place: str
    id: str
    version: int


@dataclass(frozen=True)
class Publication:
    """Tables that belong together.

    Attributes:
        what: what they are together, e.g. `index`.
        run_id: the run that wrote them.
        stamp: of its commits.
        published_at: when.
        tables: what was written. sources: what it was made from.
        settings: what else is needed to use it, as JSON has it.
        number: of the publication.
    """

    what: str
    run_id: str
    stamp: str
    published_at: datetime.datetime
    tables: tuple[Member, ...]
    sources: tuple[Member, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def table(self, relation: Relation) -> Member | None:
        """Return what was written of a relation."""
        return next((member for member in self.tables if member.name == relation.name), None)


@dataclass(frozen=True)
class Publications:
    """The publications of a lake as they stood when this was read, and its tables at the versions they name.

    Attributes:
        lake: a folder, a place in a store, or `catalog.schema`.
        rows: the publications, the newest first.
        get_spark: gives a session for tables of a catalog.
    """

    lake: str
    rows: Sequence[Publication]
    get_spark: GetSpark

    @classmethod
    def read(cls, lake: str, get_spark: GetSpark) -> Publications:
        """Read what has been published in a lake; nothing, if no job has.

        Raises:
            UserError: the table of publications cannot be read.
        """
        table = ArrowTable.find(TableRef.find("", PUBLICATIONS, lake), PUBLICATIONS, get_spark)
        rows = [] if table is None else table.read(PUBLICATIONS.names).to_pylist()
        rows.sort(key=lambda row: (row["number"], row["published_at"], row["stamp"]), reverse=True)
        return cls(lake, [_publication(row) for row in rows], get_spark)

    def newest(self, what: str) -> Publication | None:
        """Return the newest publication of something."""
        return next((row for row in self.rows if row.what == what), None)

    def table(self, relation: Relation, given: str = "") -> TableRef:
        """Return the table that a flag names, or the lake's own, at the version that readers read; see `at`."""
        return self.at(TableRef.find(given, relation, self.lake))

    def result(self, relation: Relation, given: str = "") -> TableRef | None:
        """Return what a job has made before, for the same job to go on from.

        None if there is nothing, or, with a word, if it is not whole or not the job's: then it is made anew.
        """
        ref = TableRef.find(given, relation, self.lake)
        try:
            found = self.at(ref)
        except UserError:
            _note(f"{ref.location}: what stands there is no result that was published; it is made anew")
            return None
        return None if found.pinned is None else found

    def at(self, ref: TableRef) -> TableRef:
        """Return a table at the version that readers read.

        That is the published one. Where nobody has published the table it is somebody else's, and the newest. A table
        that is not there is returned as it is; reading it says what is missing.

        Raises:
            UserError: a run of ours was killed before it published the table, which never was published before; or
                it is another table than the one that was published.
        """
        log = TableLog(ref, self.get_spark)
        if log.newest < 0:
            return ref
        member = next((member for _, member in self._naming(ref)), None)
        if member is None and not place_in(self.lake, ref).startswith("./"):
            return self._of_another_lake(ref, log)
        found = (
            None if member is None else self._pinned(ref, member, log, is_kept_by_others=member.name in _KEPT_BY_OTHERS)
        )
        return self._newest(ref, log) if found is None else found

    def _of_another_lake(self, ref: TableRef, log: TableLog) -> TableRef:
        """Return a table as the lake that it lies in has published it, or as it is if that knows nothing of it."""
        location = ref.location.rstrip("/")
        separator = "." if is_catalog_name(location) else "/"
        beside = Publications.read(location.rpartition(separator)[0], self.get_spark)
        if any(beside._naming(ref)):
            return beside.at(ref)
        rows = log.rows_since(log.newest)
        if is_ours(log.commit(rows)):
            _note(
                f"{ref.location}: nothing beside it says whether the job that wrote it had finished; "
                "it is read as it is"
            )
        return dataclasses.replace(ref, pinned=log.newest, rows_version=rows)

    def of(self, ref: TableRef) -> Publication | None:
        """Return the newest publication that names a table."""
        return next((row for row, _ in self._naming(ref)), None)

    def _naming(self, ref: TableRef) -> Iterator[tuple[Publication, Member]]:
        place = place_in(self.lake, ref)
        return ((row, member) for row in self.rows for member in row.tables if member.place == place)

    def member(self, member: Member, relation: Relation) -> TableRef:
        """Return a table at the version that a publication names.

        Raises:
            UserError: it is gone, or another table stands in its place.
        """
        ref = TableRef(located(self.lake, member.place))
        log = TableLog(ref, self.get_spark)
        found = None if log.newest < 0 else self._pinned(ref, member, log, is_kept_by_others=False)
        if found is None:
            raise UserError(
                f"{ref.location}: the table that was published is gone, and there is "
                f"{'none' if log.newest < 0 else 'another'} in its place: run {relation.producer} again"
            )
        return found

    def _pinned(self, ref: TableRef, member: Member, log: TableLog, is_kept_by_others: bool) -> TableRef | None:
        """Return a table at the last version whose rows are those published; None if it is another table."""
        if log.newest < member.version or _id(ref, self.get_spark, member.version) != member.id:
            if is_kept_by_others:
                return None
            raise UserError(
                f"{ref.location}: this is not the table that was published (it was dropped and made anew, or copied "
                f"without its history): run again what writes it"
            )
        version, rows, is_read = member.version, None, True
        foreign: Commit | None = None  # the first that is not read
        for commit in log.since(member.version):
            if commit.changed_rows and is_ours(commit):
                is_read = False
            elif commit.changed_rows and is_kept_by_others and member.version <= commit.restored <= version:
                is_read, rows, foreign = True, commit.version, None  # somebody took out what is not published
            elif commit.changed_rows and not (is_kept_by_others and is_read):
                is_read, foreign = False, foreign or commit
            elif commit.changed_rows:
                rows = commit.version
            if is_read:
                version = commit.version
        if foreign:
            _note(
                f"{ref.location} was changed by somebody else since it was published ({foreign.operation}, version "
                f"{foreign.version}); version {version} is read"
            )
        return dataclasses.replace(
            ref, pinned=version, rows_version=log.rows_since(member.version) if rows is None else rows
        )

    def _newest(self, ref: TableRef, log: TableLog) -> TableRef:
        rows = log.rows_since(log.newest)
        if is_ours(commit := log.commit(rows)):
            raise UserError(
                f"{ref.location}: the job that wrote it ({commit.stamp.split(' ')[1]}) was stopped before it had "
                "finished: run it again"
            )
        return dataclasses.replace(ref, pinned=log.newest, rows_version=rows)


def is_ours(commit: Commit) -> bool:
    """Tell whether a commit counts only once it is published."""
    return commit.stamp.split(" ")[0] == _STAMP


class Publishing:
    """A run's tables on their way: each is written at once, none counts for readers before all are published.

    Args:
        get_spark: gives a session.
        lake: where the publication stands, and the tables unless another place is given.
        what: see `Publication`.
        run_id: of the run; empty makes one.
    """

    def __init__(self, get_spark: GetSpark, lake: str, what: str, run_id: str = "") -> None:
        self._get_spark, self._lake, self._what = get_spark, lake, what
        self.stamp = f"{_STAMP} {what} {uuid.uuid4().hex}"
        self.run_id = run_id or self.stamp[-10:]
        self._tables: list[Member] = []
        self._sources: list[Member] = []
        self._settings: dict[str, Any] = {}
        self._shared: dict[str, tuple[tuple[Relation, Any, str, str], int]] = {}  # by name: how, and on which version
        self._merges_with: str | None = None
        self._lock = Lock()

    def write(self, relation: Relation, rows: Any, given: str = "") -> TableRef:
        """Replace a table; return it at the version that was written.

        Args:
            relation: what it is.
            rows: a frame or an Arrow table.
            given: where, if not in the lake.

        Raises:
            UserError: see `TableSink.write`.
        """
        ref = TableRef.find(given, relation, self._lake)
        before = TableLog(ref, self._get_spark).newest
        if isinstance(rows, pa.Table):
            ArrowSink(ref, relation, self._get_spark, self.stamp).write(rows)
        else:
            TableSink(ref, relation, self.stamp).write(rows)
        return self._written(ref, relation, before)

    def add_own(self, relation: Relation, rows: Any, own: str, given: str = "") -> TableRef:
        """Write a run's own rows into a table that has those of all runs; return it at the version that was written.

        Rows of runs that were killed do not stay, and those that another run publishes before this one are kept.

        Args:
            relation: what it is.
            rows: a frame of the run's own, cheap to make again.
            own: SQL; the rows that they replace.
            given: where, if not in the lake.

        Raises:
            UserError: see `TableSink.write`.
        """
        ref = TableRef.find(given, relation, self._lake)
        log, base = TableLog(ref, self._get_spark), self._published_version(ref)
        before = log.newest
        killed = before >= 0 and is_ours(log.commit(log.rows_since(before)))
        if base >= 0 and any(commit.changed_rows for commit in log.since(base)):
            ArrowSink.restore(ref, base, self._get_spark, self.stamp)
        TableSink(ref, relation, self.stamp).write(rows, "" if base < 0 and killed else own)
        self._shared[relation.name] = (relation, rows, own, given), base
        return self._written(ref, relation, before)

    def merges_with(self, published: Publication | None) -> None:
        """Note what the tables were merged with, so that this run is not published over a later one of its kind."""
        self._merges_with = published.stamp if published else ""

    def _published_version(self, ref: TableRef) -> int:
        """Return the version of a table that readers read; −1 if it was never published."""
        published = Publications.read(self._lake, self._get_spark)
        try:
            pinned = published.at(ref).pinned if published.of(ref) else None
        except UserError:  # dropped and made anew: what stands there is somebody's
            return -1
        return -1 if pinned is None else pinned

    def change(self, relation: Relation, base: TableRef, apply: Any) -> TableRef:
        """Append to a table or merge into it, as it was published; return it at the version that was written.

        Rows that a killed run has left are taken out first. Another run that writes between is noticed, and then all
        is done again.

        Args:
            relation: what it is.
            base: the table at the version the change is meant for.
            apply: makes the change, in one commit, given the stamp.

        Raises:
            UserError: others keep changing the table; or it cannot be written.
        """
        ref = TableRef(base.location)
        assert base.pinned is not None
        for _ in range(_TURNS):
            log = TableLog(ref, self._get_spark)
            before = log.newest
            if any(commit.changed_rows for commit in log.since(base.pinned)):
                ArrowSink.restore(ref, base.pinned, self._get_spark, self.stamp)
            again(lambda: apply(self.stamp))
            log = TableLog(ref, self._get_spark)
            mine = log.find(self.stamp)
            last = log.newest if mine is None else mine.version
            between = (log.commit(version) for version in range(before + 1, last + 1))
            if all(commit.stamp == self.stamp or not commit.changed_rows for commit in between):
                return self._written(ref, relation, before)
        raise UserError(f"{ref.location}: other jobs keep changing it; run this again when they are done")

    def reads(self, relation: Relation, ref: TableRef) -> None:
        """Note what the tables are made from."""
        if ref.pinned is None:
            return
        identity = _id(ref, self._get_spark, ref.pinned)
        self._sources.append(Member(relation.name, place_in(self._lake, ref), identity, ref.pinned))

    def keep(self, relation: Relation, ref: TableRef) -> None:
        """Publish a table again as it is."""
        assert ref.pinned is not None
        identity = _id(ref, self._get_spark, ref.pinned)
        with self._lock:
            self._tables.append(Member(relation.name, place_in(self._lake, ref), identity, ref.pinned))

    def settings(self, **settings: Any) -> None:
        """Note what else is needed to use the tables."""
        self._settings |= settings

    def _written(self, ref: TableRef, relation: Relation, before: int) -> TableRef:
        log = TableLog(ref, self._get_spark)
        mine = log.find(self.stamp)
        if mine is None and any(commit.changed_rows for commit in log.since(before)):
            raise UserError(f"{ref.location}: another job overwrote it in the same moment; run the command again")
        # Delta makes no commit where nothing changes, as of an empty table by an empty one.
        version = log.newest if mine is None else mine.version
        identity = _id(ref, self._get_spark, version)
        with self._lock:
            self._tables = [member for member in self._tables if member.name != relation.name]
            self._tables.append(Member(relation.name, place_in(self._lake, ref), identity, version))
        return dataclasses.replace(ref, pinned=version, rows_version=version)

    def publish(self) -> Publication | None:
        """Make all that was written count, in one commit; None if nothing was."""
        if not (self._tables or self._settings):
            return None
        for _ in range(_TURNS):
            moved = [
                how
                for how, base in self._shared.values()
                if self._published_version(TableRef.find(how[3], how[0], self._lake)) != base
            ]
            for how in moved:
                self.add_own(*how)
            if moved:
                continue
            publication, beside = self._publish()
            # Published in the same moment: neither has seen the other's rows.
            if not any(member.name in self._shared for row in beside for member in row.tables):
                return publication
        raise UserError(f"{self._lake}: other jobs keep publishing; run this again when they are done")

    def _publish(self) -> tuple[Publication, list[Publication]]:
        """Publish; return it, and what others have published in the same moment."""
        ref = TableRef.find("", PUBLICATIONS, self._lake)
        published = Publications.read(self._lake, self._get_spark)
        earlier, same = published.rows, published.newest(self._what)
        if self._merges_with is not None and (same.stamp if same else "") != self._merges_with:
            raise UserError(
                f"{self._lake}: another job has published `{self._what}` since this one read it, and this one would "
                "take out what that has added: run the command again"
            )
        publication = Publication(
            self._what,
            self.run_id,
            self.stamp,
            datetime.datetime.now(datetime.UTC),
            tuple(self._tables),
            tuple(self._sources),
            self._settings,
            earlier[0].number + 1 if earlier else 1,
        )
        _flush(self._lake, self._tables)
        row = vars(publication) | {
            "tables": json.dumps([dataclasses.asdict(member) for member in publication.tables]),
            "sources": json.dumps([dataclasses.asdict(member) for member in publication.sources]),
            "settings": json.dumps(publication.settings),
        }
        rows = pa.Table.from_pylist([row], schema=PUBLICATIONS.arrow_schema())
        ArrowSink(ref, PUBLICATIONS, self._get_spark).append(rows)  # no stamp: this commit counts at once
        version = TableLog(ref, self._get_spark).newest
        _flush(self._lake, [Member(PUBLICATIONS.name, place_in(self._lake, ref), "", version)])
        if publication.number % _FILES == 0:
            ArrowSink.compact(ref)
        now = Publications.read(self._lake, self._get_spark).rows if self._shared else []
        return publication, [row for row in now if row.number == publication.number and row.stamp != self.stamp]


def undo_unpublished(get_spark: GetSpark, lake: str, relation: Relation) -> None:
    """Give a table its published rows again, and publish them, if a run was killed after it had written it: what is
    added to rows that nobody reads would not be read either. Rows that others have added since stay.

    Raises:
        UserError: others have deleted or changed rows of the killed run.
    """
    ref = TableRef.find("", relation, lake)
    published = Publications.read(lake, get_spark).at(ref)
    log = TableLog(ref, get_spark)
    if published.pinned is None:
        return
    unread = [commit for commit in log.since(published.pinned) if commit.changed_rows]
    if not unread:
        return
    added: list[str] = []
    for commit in unread:
        if is_ours(commit):
            continue
        files = log.added(commit.version)
        if files is None or ref.folder is None:
            raise UserError(
                f"{ref.location}: somebody has changed rows ({commit.operation}, version {commit.version}) that a job "
                f"had written and not published before it was stopped (version {unread[0].version}): RESTORE the table "
                f"to version {published.pinned} and make that change again"
            )
        added += files
    with publishing(get_spark, lake, relation.name) as run:
        rows = [pq.read_table(ref.folder / name) for name in added] if ref.folder else []
        ArrowSink.restore(ref, published.pinned, get_spark, run.stamp)
        if rows:
            ArrowSink(ref, relation, get_spark, run.stamp).append(pa.concat_tables(rows, promote_options="permissive"))
            print(f"{ref.location}: {sum(map(len, rows)):,} rows that others have added are kept", flush=True)
        restored = TableLog(ref, get_spark).find(run.stamp)
        if restored is not None:
            run.keep(relation, dataclasses.replace(ref, pinned=restored.version))


@contextmanager
def publishing(get_spark: GetSpark, lake: str, what: str, run_id: str = "") -> Iterator[Publishing]:
    """Write several tables as one: they are published in the end, unless something has gone wrong.

    Arguments are those of `Publishing`.
    """
    run = Publishing(get_spark, lake, what, run_id)
    yield run
    run.publish()


def place_in(lake: str, ref: TableRef) -> str:
    """Return where a table is, seen from the lake: `./…` if it lies in it, else its path or its catalog name."""
    if is_catalog_name(ref.location):
        inside = is_catalog_name(lake) and ref.location.rpartition(".")[0] == lake
        return f"./{ref.location.rpartition('.')[2]}" if inside else ref.location
    if is_catalog_name(lake):
        return ref.path
    root, place = TableRef(lake).folder, ref.folder
    if root is None or place is None:
        prefix = f"{TableRef(lake).path.rstrip('/')}/"
        return f"./{ref.path.removeprefix(prefix)}" if ref.path.startswith(prefix) else ref.path
    root, place = root.resolve(), place.resolve()
    relative = os.path.relpath(place, root)
    return place.as_posix() if relative.startswith("..") else f"./{Path(relative).as_posix()}"


def located(lake: str, place: str) -> str:
    """Return the location of a table from `place_in`."""
    if not place.startswith("./"):
        return place
    separator = "." if is_catalog_name(lake) else "/"
    return f"{lake.rstrip('/')}{separator}{place.removeprefix('./')}"


def _flush(lake: str, tables: Sequence[Member]) -> None:
    """Have the disk keep what was written before the commit that vouches for it; only where files are at hand."""
    for member in tables:
        folder = TableRef(located(lake, member.place)).folder
        if folder is None:
            continue
        log = folder / "_delta_log" / f"{member.version:020}.json"
        actions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        # A name that the log has encoded, or that lies in another place, is passed over.
        for path in (
            *(folder / action["add"]["path"] for action in actions if "add" in action),
            log,
            folder,
            log.parent,
            folder.parent,  # of a new table
        ):
            flush_to_disk(path)


def _publication(row: Mapping[str, Any]) -> Publication:
    members = {name: tuple(Member(**member) for member in json.loads(row[name])) for name in ("tables", "sources")}
    return Publication(**(dict(row) | members | {"settings": json.loads(row["settings"])}))


def _id(ref: TableRef, get_spark: GetSpark, version: int) -> str:
    return ArrowTable.identity_of(ref, get_spark, version)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)
