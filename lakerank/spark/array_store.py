"""Arrays that stay where the workers can reach them, so that a job ships only their names.

Streaming 20 million rows from Spark to Python costs 6 to 12 seconds; an iterative job that did so in every
pass would spend its time there. A `BlockStore` is a folder that all workers see (a local disk for local[*],
NFS, /Volumes or /dbfs on a cluster); a block is a few named NumPy arrays under one key. Blocks are written
whole or not at all, never changed afterwards, and read back memory-mapped. The folder may also be a place in an object
store (`s3a://…`), which workers reach that share no disk: see `remote_blocks`.

Each block has a manifest with the size and the checksum of its files, written after them. Reading compares sizes, which
costs nothing; `verify` compares checksums, for when a folder is opened that somebody wrote some time ago. A `seal` is
the manifest of a folder of blocks: what is in it and missing, or altered, is an error, and what is not was never there.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.cli.files import exchange, flush_to_disk
from lakerank.cli.stores import has_scheme, is_in_object_store, require_store
from lakerank.spark.remote_blocks import SUFFIX, RemoteFolder

if TYPE_CHECKING:  # blocks are written and read where pyspark is not installed
    from pyspark.sql import SparkSession

Block = dict[str, NDArray[Any]]
Sums = dict[str, tuple[float, int]]
Work = Callable[[int], list[tuple[str, float, int]]]  # block number → (what, sum, count)
Runner = Callable[[Work], Sums]  # does the work for each of the B blocks and adds up what it returns by name

MANIFEST = "manifest.json"  # of a block: file → size in bytes and checksum
SEAL = ".sealed.json"  # of a folder of blocks: key → checksum of the block's manifest
_CHECKSUM = "xxh3_64"  # key of a JSON file's own checksum
_FLUSHERS = 16  # a disk takes many flushes in hardly more time than one
_PROBLEM = "problem: "  # what a task returns instead of a sum's name when it cannot go on


@dataclass(frozen=True)
class BlockStore:
    """A folder of blocks. Keys are relative paths such as `epoch-0003/user-1`."""

    root: str

    @classmethod
    def open(cls, folder: str, flag: str) -> BlockStore:
        """Make sure `folder` can be used.

        Args:
            folder: local or mounted path (`file:` is accepted), or a place in an object store.
            flag: the flag to name when it cannot.

        Raises:
            UserError: the folder cannot be written, or the store does not answer or is of no kind that we know.
        """
        path = re.sub(r"^file:(//)?", "", folder)
        if is_in_object_store(path):
            require_store(path)
            return cls(path.rstrip("/"))
        if has_scheme(path):
            raise UserError(
                f"{flag} {folder}: blocks need a folder that every worker mounts (local disk, NFS, /Volumes, "
                f"/dbfs) or an object store (s3://, gs://, abfss://); give one with {flag}"
            )
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{flag} {folder}: cannot create it ({error.strerror})") from error
        return cls(str(Path(path).resolve()))

    def below(self, name: str) -> BlockStore:
        """Return a store in a folder of this one."""
        return BlockStore(f"{self.root}/{name}")

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store, where nothing can be locked, renamed or flushed."""
        return has_scheme(self.root)

    @property
    def name(self) -> str:
        """The last part of its root: its key in the store above."""
        return self.root.rpartition("/")[2]

    def path(self, key: str) -> Path:
        """Return the path of a key in a local store."""
        return Path(self.root) / key

    def has_file(self, key: str) -> bool:
        """Tell whether a JSON file is there."""
        return _remote(self).stat(key) is not None if self.is_remote else self.path(key).is_file()

    def changed(self, key: str = "") -> float:
        """Return when a JSON file, or something in a folder of a remote store, was changed last: seconds since 1970.

        Raises:
            FileNotFoundError: it is not there.
        """
        if not self.is_remote:
            return self.path(key).stat().st_mtime
        one = _remote(self).stat(key) if key else None
        found = [one] if one else _remote(self).list(key)
        if not found:
            raise FileNotFoundError(f"{self.root}/{key}")
        return max(stored.changed for stored in found)

    def unfinished(self, name: str) -> BlockStore:
        """Return the store in which the folder `name` is made, for `finish`: hidden beside it.

        In an object store, where nothing can be renamed, it is itself: what is not sealed does not count there either.
        """
        return self.below(name if self.is_remote else hidden_name(name))

    def finish(self, made: BlockStore, name: str) -> bool:
        """Give what `unfinished` made its name; False if something is there already."""
        return self.is_remote or self.move_in(Path(made.root), name)

    def put(self, key: str, block: Block) -> None:
        """Write a block in one step; a second writer of the same key (a repeated task) changes nothing.

        One that is there but is not what its manifest says is replaced.
        """
        if self.is_remote:
            _remote(self).put(key, block)
            return
        target = self.path(key)
        fresh = target.with_name(hidden_name(target.name))
        fresh.mkdir(parents=True)
        manifest = {}
        for name, array in sorted(block.items()):
            np.save(fresh / f"{name}.npy", array)
            manifest[f"{name}.npy"] = _size_and_checksum(fresh / f"{name}.npy", np.asarray(array))
        (fresh / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        if not self.move_in(fresh, key):  # it is there already, with the same content: tasks are deterministic
            try:
                self.verify([key])
            except UserError:
                self.replace(fresh, key)
            shutil.rmtree(fresh, ignore_errors=True)

    def replace(self, fresh: Path, key: str) -> None:
        """Let a folder take the place of what lies at `key`; readers see the one or the other, where they can change
        places in one step. What was there may be left at `fresh`.
        """
        if not exchange(fresh, self.path(key)):
            self.discard(key)
            self.move_in(fresh, key)

    def move_in(self, fresh: Path, key: str) -> bool:
        """Rename a folder to where `key` lies; False if something is there already."""
        try:
            fresh.replace(self.path(key))
        except OSError:
            if not self.path(key).is_dir():
                raise
            return False
        return True

    def get(self, key: str) -> Block:
        """Read a block; its arrays are read-only views of the files.

        Raises:
            UserError: it is not there, or a file of it is missing or of another size than was written.
        """
        if self.is_remote:
            return self._get_remote(key)
        block = {}
        for file, (size, _) in sorted(self._parts(key).items()):
            path = self.path(key) / file
            try:
                block[path.stem] = np.load(path, mmap_mode="r" if size > 4096 else None)
            except (ValueError, OSError, EOFError) as error:
                raise self._damage(key, f"{file} cannot be read") from error
        return block

    def _get_remote(self, key: str) -> Block:
        try:
            found = _remote(self).get(key)
        except ValueError as error:
            raise self._damage(key, str(error)) from error
        if found is None:
            raise UserError(f"block {self.root}/{key} is missing: run the command again without --resume")
        return found

    def _parts(self, key: str) -> dict[str, tuple[int, str]]:
        """Return size and checksum of each file of a block, having compared the sizes.

        Raises:
            UserError: the block is missing or damaged.
        """
        folder = self.path(key)
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            parts = {str(file): (int(size), str(checksum)) for file, (size, checksum) in manifest.items()}
        except FileNotFoundError as error:
            if folder.is_dir():
                raise self._damage(key, f"{MANIFEST} is missing") from error
            raise UserError(f"block {folder} is missing: run the command again without --resume") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damage(key, f"{MANIFEST} cannot be read") from error
        for file, (size, _) in parts.items():
            try:
                found = (folder / file).stat().st_size
            except OSError as error:
                raise self._damage(key, f"{file} is missing") from error
            if found != size:
                raise self._damage(key, f"{file} has {found:,} bytes instead of {size:,}")
        return parts

    def _damage(self, key: str, what: str) -> UserError:
        where = f"{self.root}/{key}" if self.is_remote else self.path(key)
        return UserError(f"block {where} is damaged ({what}): remove this folder and run the command again")

    def verify(self, keys: Iterable[str]) -> None:
        """Compare blocks with the checksums in their manifests.

        Raises:
            UserError: one is missing or damaged.
        """
        for key in keys:
            if self.is_remote:
                if wrong := _remote(self).verify(key):
                    raise self._damage(key, wrong)
                continue
            for file, (_, checksum) in self._parts(key).items():
                if _file_checksum(self.path(key) / file) != checksum:
                    raise self._damage(key, f"the checksum of {file} is another")

    def verify_sealed(self, folder: str, keys: Mapping[str, str]) -> None:
        """Compare blocks of a sealed folder with what they were when it was sealed.

        Args:
            folder: where they are.
            keys: of those to compare, as `sealed` returned them.

        Raises:
            UserError: one is missing or damaged, or is another one.
        """
        for key, checksum in keys.items():
            below = f"{folder}/{key}" if folder else key
            self.verify([below])
            now = (
                xxhash.xxh3_64(_remote(self).header(below) or b"").hexdigest()
                if self.is_remote
                else _file_checksum(self.path(below) / MANIFEST)
            )
            if now != checksum:
                raise self._damage(below, "it is not the one that was written at first")

    def blocks(self, folder: str = "") -> list[str]:
        """List the blocks below `folder`, at any depth, sorted; as keys relative to it."""
        if self.is_remote:
            begin = len(folder) + 1 if folder else 0
            names = (stored.name[begin:] for stored in _remote(self).list(folder) if stored.name.endswith(SUFFIX))
            return sorted(name.removesuffix(SUFFIX) for name in names if not name.startswith(".") and "/." not in name)
        root, found = self.path(folder) if folder else Path(self.root), []
        for where, folders, files in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if MANIFEST in files and Path(where) != root:
                folders.clear()
                found.append(Path(where).relative_to(root).as_posix())
        return sorted(found)

    def seal(self, folder: str = "", flush: bool = True) -> None:
        """Write down which blocks are in `folder`; from then on one that is missing is an error.

        Args:
            folder: of blocks, at any depth.
            flush: whether the blocks must outlast a power cut that comes after this.
        """
        if self.is_remote:
            at = f"{folder}/" if folder else ""
            heads = _remote(self).headers(f"{at}{key}" for key in self.blocks(folder))
            sums = {key.removeprefix(at): xxhash.xxh3_64(head).hexdigest() for key, head in heads.items()}
            self.write_json(f"{at}{SEAL}", sums)
            return
        root = self.path(folder) if folder else Path(self.root)
        keys = {key: _file_checksum(root / key / MANIFEST) for key in self.blocks(folder)}
        if flush:
            flush_folder(root)
        self.write_json(f"{folder}/{SEAL}" if folder else SEAL, keys, flush)
        if flush:
            flush_to_disk(root)

    def sealed(self, folder: str = "") -> dict[str, str]:
        """Return the blocks that were in a folder when it was sealed: key → checksum of the manifest.

        Raises:
            UserError: the folder was never sealed, or the seal is damaged.
        """
        keys = self.read_json(f"{folder}/{SEAL}" if folder else SEAL)
        if keys is None:
            raise UserError(f"{self.root}/{folder} is not complete: remove this folder and run the command again")
        return keys

    def has(self, key: str) -> bool:
        """Tell whether the block is there, complete."""
        if self.is_remote:
            return _remote(self).stat(f"{key}{SUFFIX}") is not None
        return self.path(key).is_dir()

    def keys(self, folder: str = "") -> list[str]:
        """List the names directly under `folder`, sorted; unfinished blocks are not listed."""
        if self.is_remote:
            found = (stored.name.rpartition("/")[2] for stored in _remote(self).list(folder, recursive=False))
            return sorted({name.removesuffix(SUFFIX) for name in found if not name.startswith(".")})
        where = self.path(folder) if folder else Path(self.root)
        return sorted(p.name for p in where.iterdir() if not p.name.startswith(".")) if where.is_dir() else []

    def drop(self, key: str) -> None:
        """Remove a block, a folder of blocks or a JSON file, if it is there."""
        if self.is_remote:
            _remote(self).remove(key)
            return
        where = self.path(key)
        if where.is_file():
            where.unlink()
        else:
            shutil.rmtree(where, ignore_errors=True)

    def discard(self, key: str) -> None:
        """Take a folder away in one step, then remove it: nobody sees it half removed.

        In an object store its seal and its contents go first, without which the rest does not count.
        """
        if self.is_remote:
            for file in (SEAL, "contents.json"):
                _remote(self).remove(f"{key}/{file}")
            _remote(self).remove(key)
            return
        where = self.path(key)
        aside = where.with_name(hidden_name(where.name))
        try:
            where.replace(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    def drop_where(self, doomed: Callable[[str], bool]) -> None:
        """Remove what stands directly in the store under the names that `doomed` picks."""
        for name in filter(doomed, self.keys()):
            self.drop(name)

    def write_json(self, key: str, values: dict[str, Any], flush: bool = True) -> None:
        """Write a small JSON file in one step; it marks what came before it as complete.

        Args:
            key: path of the file.
            values: to write.
            flush: whether what it is renamed to is sure to be all of it, even after a power cut.
        """
        if self.is_remote:
            told = values | {_CHECKSUM: _json_checksum(values)}
            _remote(self).write(key, json.dumps(told).encode())
            return
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(hidden_name(target.name))
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(values | {_CHECKSUM: _json_checksum(values)}, file)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(target)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Read a JSON file, or None if it is not there.

        Raises:
            UserError: it is not what was written.
        """
        path = self.path(key)
        try:
            content = _remote(self).read(key) if self.is_remote else path.read_bytes()
            if content is None:
                return None
            loaded: dict[str, Any] = json.loads(content)
            checksum = loaded.pop(_CHECKSUM, None)
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError) as error:
            raise UserError(f"{path} is damaged: remove the folder it is in and run the command again") from error
        if checksum is not None and checksum != _json_checksum(loaded):
            raise UserError(f"{path} is damaged: remove the folder it is in and run the command again")
        return loaded


def _remote(store: BlockStore) -> RemoteFolder:
    return RemoteFolder(store.root)


def hidden_name(name: str) -> str:
    """Return a name that nobody else will use, for what is not finished; `is_hidden_name` knows it."""
    return f".{name}-{uuid.uuid4().hex}"


def is_hidden_name(name: str) -> bool:
    """Tell whether `hidden_name` made a name."""
    return re.fullmatch(r"\..+-[0-9a-f]{32}", name) is not None


def flush_folder(folder: Path) -> None:
    """Make all files and folders below a folder outlast a power cut."""
    paths = [folder]
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden_name(name)]
        paths += [Path(where) / name for name in (*folders, *files) if not is_hidden_name(name)]
    with ThreadPoolExecutor(_FLUSHERS) as pool:
        list(pool.map(flush_to_disk, paths))
    flush_to_disk(folder.parent)


def _size_and_checksum(path: Path, array: NDArray[Any]) -> tuple[int, str]:
    """Return the size and the checksum of the file that `np.save` has made of an array.

    The checksum is of the array in memory, so that it also tells when the file system altered what was written.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = xxhash.xxh3_64(file.read(size - array.nbytes))
    # as np.save lays it out
    data = array.T if array.flags.f_contiguous and not array.flags.c_contiguous else np.ascontiguousarray(array)
    digest.update(memoryview(data.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]  # NumPy 2.0 has no Buffer
    return size, digest.hexdigest()


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return xxhash.xxh3_64().hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return xxhash.xxh3_64(data).hexdigest()


def _json_checksum(values: dict[str, Any]) -> str:
    return xxhash.xxh3_64(json.dumps(json.loads(json.dumps(values)), sort_keys=True).encode()).hexdigest()


def added_up(rows: list[tuple[str, float, int]]) -> Sums:
    """Add sums and counts by name, in the order given."""
    result: Sums = {}
    for name, total, n in rows:
        before, count = result.get(name, (0.0, 0))
        result[name] = (before + total, count + n)
    return result


def freeze_imports() -> None:
    """Take what is imported by now out of garbage collection, once in each process that works for Spark.

    pyspark collects garbage after each task. With the compiler of the kernels loaded there is much to look at and
    nothing to find: some 60 ms of a core for each task, which is longer than many a task of an iteration takes.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def on_workers(spark: SparkSession, blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks, one Spark task each.

    Raises:
        UserError: what the work says is the user's to mend, in its own words instead of Spark's.
    """

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for p in batch.column(0).to_pylist():
                try:
                    names, sums, counts = zip(*work(p), strict=True)
                except UserError as error:
                    names, sums, counts = (_PROBLEM + str(error),), (0.0,), (0,)
                yield pa.RecordBatch.from_pydict(
                    {
                        "p": pa.array([p] * len(names), pa.int64()),
                        "name": pa.array(names, pa.string()),
                        "total": pa.array(sums, pa.float64()),
                        "n": pa.array(counts, pa.int64()),
                    }
                )
        freeze_imports()

    rows = spark.range(0, blocks, 1, blocks).mapInArrow(task, "p bigint, name string, total double, n bigint").collect()
    for row in rows:
        if row["name"].startswith(_PROBLEM):
            raise UserError(row["name"].removeprefix(_PROBLEM))
    # A fixed order of addition, or the last bits would depend on who finished first.
    return added_up([(row["name"], row["total"], row["n"]) for row in sorted(rows, key=lambda r: (r["p"], r["name"]))])


def in_process(blocks: int, work: Work) -> Sums:
    """Do `work(p)` for p < blocks in this process, one after the other."""
    return added_up([line for p in range(blocks) for line in sorted(work(p))])
