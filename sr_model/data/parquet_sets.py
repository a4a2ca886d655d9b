"""Parquet that other programs wrote: Petastorm data sets of any release, and plain Parquet with pictures in a column.

Read by pyarrow alone: folders partitioned as Hive does it, whose fields stand in the folders' names; what Petastorm's
codecs made of arrays and pictures, by its stored schema, which is read without unpickling (`stored_schema`); and
conditions on rows. `build_patches --source` cuts their pictures into patches for the trainer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from lakerank.cli.errors import UserError
from sr_model.data.stored_schema import UNISCHEMA_KEY, StoredField, read_schema
from sr_model.images import BrokenImage

_OPERATORS = {"!=": "ne", ">=": "ge", "<=": "le", "=": "eq", ">": "gt", "<": "lt"}
_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*")
_IMAGE_NAMES = ("image", "content", "bytes", "img", "picture")  # of plain binary columns, in this order


@dataclass(frozen=True)
class Group:
    """Describe a row group.

    Attributes:
        file: its path.
        index: its number in the file.
        rows: how many rows it has.
        partition: the fields that the folders' names give.
    """

    file: Path
    index: int
    rows: int
    partition: Mapping[str, Any]


class ParquetSet:
    """Open a folder of Parquet files, or one file.

    Args:
        path: a data set; files and folders whose names begin with `_` or `.` are left out, as Spark and Petastorm do.

    Attributes:
        fields: field → how Petastorm stored it; empty for plain Parquet.
        columns: all fields, those of the folders' names last.

    Raises:
        UserError: nothing there, a file that is no Parquet, or a stored schema that is more than a schema.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path}: no such file or folder of Parquet")
        try:
            self._dataset = pads.dataset(self.path, format="parquet", partitioning="hive")
            self._schema = self._dataset.schema
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.path}: not readable as Parquet ({error})") from error
        if not self._dataset.files:
            raise UserError(f"{self.path}: holds no Parquet files")
        self.fields = self._stored_fields()
        self.columns: list[str] = list(self._schema.names)

    def _stored_fields(self) -> dict[str, StoredField]:
        """Read Petastorm's schema, of the data set's `_common_metadata`, else of a file; nothing for plain Parquet."""
        folder = self.path if self.path.is_dir() else self.path.parent
        while "=" in folder.name:  # a file of a partition
            folder = folder.parent
        common = folder / "_common_metadata"
        try:
            metadata = pq.read_metadata(common).metadata if common.is_file() else self._schema.metadata
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{common}: not readable ({error}); copy the data set again") from error
        if UNISCHEMA_KEY not in (metadata or {}):
            return {}
        try:
            return read_schema(metadata[UNISCHEMA_KEY])
        except Exception as error:  # unpickling foreign bytes raises nearly anything
            raise UserError(f"{self.path}: no readable Petastorm schema ({str(error)[:200]})") from error

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The row groups of all files, by the files' names."""
        found = []
        for fragment in sorted(self._dataset.get_fragments(), key=lambda one: str(one.path)):
            partition = pads.get_partition_keys(fragment.partition_expression)
            try:
                counts = [pq.read_metadata(fragment.path).row_group(i).num_rows for i in range(fragment.num_row_groups)]
            except (OSError, pa.ArrowException) as error:
                raise UserError(f"{fragment.path}: not readable as Parquet ({error})") from error
            found += [Group(Path(fragment.path), i, rows, partition) for i, rows in enumerate(counts)]
        return tuple(found)

    def rows(self, columns: Sequence[str] = (), where: str = "") -> Iterator[dict[str, Any]]:
        """Read rows, decoded: numbers of the field's numpy type, arrays, pictures as arrays, text, None where missing.

        Args:
            columns: which fields; all of them if none is named.
            where: conditions, see `condition`.

        Raises:
            UserError: there is no such field, a condition does not fit, or a value cannot be decoded.
        """
        names = list(columns) or self.columns
        self._check(names)
        for group in self.groups:
            chosen = self.chosen(group, where)
            if not chosen:
                continue
            table = self.read(group, names).take(chosen)
            values = [self._decoded(name, table.column(name), group) for name in names]
            for row in zip(*values, strict=True):
                yield dict(zip(names, row, strict=True))

    def chosen(self, group: Group, where: str = "") -> list[int]:
        """List the rows of a row group that meet conditions; `where` as in `condition`."""
        if not where:
            return list(range(group.rows))
        names, wanted = self.condition(where)
        table = self.read(group, names).append_column("#row", pa.array(range(group.rows)))
        rows: list[int] = table.filter(wanted).column("#row").to_pylist()
        return rows

    def condition(self, where: str) -> tuple[list[str], pc.Expression]:
        """Parse conditions that must all hold: `split=train, label>=3, name!=cat`; text may stand in quotes.

        Returns:
            The fields that are asked for, and the expression.

        Raises:
            UserError: it cannot be understood, or there is no such field.
        """
        names: list[str] = []
        expression: pc.Expression | None = None
        for part in where.split(","):
            found = _CONDITION.fullmatch(part)
            if found is None:
                raise UserError(f"--where {where}: {part.strip() or 'nothing'} is no condition; write e.g. split=train")
            name, operator, value = found.groups()
            self._check([name])
            kind = self._schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            try:
                # By way of text, so that numbers, dates, truth values and decimals are what the field holds.
                scalar = pc.cast(pa.scalar(value.strip("'\"")), kind)
            except pa.ArrowException as error:
                raise UserError(f"--where {where}: `{name}` is {kind}, which {value} is not") from error
            compare = getattr(pc.field(name), f"__{_OPERATORS[operator]}__")(scalar)
            expression = compare if expression is None else expression & compare
            names.append(name)
        assert expression is not None
        return sorted(set(names)), expression

    def read(self, group: Group, names: Sequence[str]) -> pa.Table:
        """Read fields of a row group as they are stored, those of the folders' names among them.

        Raises:
            UserError: the file cannot be read.
        """
        try:
            with pq.ParquetFile(group.file) as file:
                held = [name for name in names if name in file.schema_arrow.names]
                table = file.read_row_group(group.index, columns=held, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{group.file}: row group {group.index} cannot be read ({error})") from error
        for name in names:
            if name not in held:
                kind = self._schema.field(name).type
                kind = kind.value_type if pa.types.is_dictionary(kind) else kind
                # Files that lack a field have nulls there, as in a data set to which a column was added.
                value = pa.array([group.partition.get(name)] * group.rows).cast(kind)
                table = table.append_column(pa.field(name, kind), value)
        return table.select(list(names))

    def bytes_of(self, group: Group, name: str) -> int:
        """Return about how many bytes a value of a column has in a row group."""
        found = pq.read_metadata(group.file).row_group(group.index)
        chunks = (found.column(i) for i in range(found.num_columns))
        size = sum(one.total_uncompressed_size for one in chunks if one.path_in_schema.split(".")[0] == name)
        return int(size) // max(1, group.rows)

    def image_column(self, wanted: str = "") -> str:
        """Find the column of pictures.

        Args:
            wanted: what the user says; empty: the only one, or the one with a usual name.

        Raises:
            UserError: there is none, or there are several.
        """
        if wanted:
            self._check([wanted])
            if not self._may_be_image(wanted):
                raise UserError(f"{self.path}: `{wanted}` is {self._schema.field(wanted).type}, which is no picture")
            return wanted
        found = [name for name in self.columns if self._may_be_image(name)]
        usual = [name for name in _IMAGE_NAMES if name in found]
        if len(found) == 1 or usual:
            return usual[0] if usual else found[0]
        several = f"several columns may be pictures ({', '.join(found)})" if found else "no column holds pictures"
        raise UserError(f"{self.path}: {several}; name it by --image-column, of {', '.join(self.columns)}")

    def _may_be_image(self, name: str) -> bool:
        kind, field = self._schema.field(name).type, self.fields.get(name)
        if field is not None:
            array = field.codec in ("NdarrayCodec", "CompressedNdarrayCodec") and field.dtype in ("uint8", "uint16")
            shape = field.shape
            return bool(field.image) or (array and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, None))))
        if pa.types.is_struct(kind):
            parts = {kind.field(i).name for i in range(kind.num_fields)}
            return "bytes" in parts or {"data", "height", "width", "nChannels"} <= parts
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def picture(self, name: str, value: Any) -> bytes:
        """Return a picture's file: what is stored, or a PNG of a stored array.

        Args:
            name: of the column.
            value: from it, as `read` gives it.

        Raises:
            BrokenImage: no picture.
        """
        if value is None:
            raise BrokenImage("missing")
        if isinstance(value, dict):
            return _spark_image(value) if "nChannels" in value else bytes(value.get("bytes") or b"")
        field = self.fields.get(name)
        if field is None or field.image or not field.codec:
            return bytes(value)
        try:
            pixels = _array(field.codec, value)
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise BrokenImage(f"damaged ({error})") from error
        return _png(pixels)

    def _decoded(self, name: str, column: pa.ChunkedArray, group: Group) -> list[Any]:
        field = self.fields.get(name)
        try:
            return [_value(field, value) for value in column.to_pylist()]
        except (ValueError, TypeError, KeyError, OSError, EOFError, BrokenImage) as error:
            raise UserError(f"{group.file}: row group {group.index}: `{name}` cannot be decoded ({error})") from error

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.columns:
                raise UserError(f"{self.path}: there is no column `{name}`; it has {', '.join(self.columns)}")


def _value(field: StoredField | None, value: Any) -> Any:
    """Decode a stored value as Petastorm's codec of its field does; without a field it stays."""
    if field is None or value is None:
        return value
    if field.image:
        return _pixels(field, bytes(value))
    if field.codec in ("NdarrayCodec", "CompressedNdarrayCodec"):
        return _array(field.codec, value)
    if field.dtype == "Decimal":
        return Decimal(value)
    if isinstance(value, list):
        return np.array(value, field.dtype or None)
    if field.dtype in ("str_", "bytes_", "object_", "") or not hasattr(np, field.dtype):
        return value
    return np.datetime64(value) if field.dtype == "datetime64" else getattr(np, field.dtype)(value)


def _array(codec: str, value: Any) -> np.ndarray[Any, Any]:
    """Read what `numpy.save` or `numpy.savez_compressed` wrote; pickles in it are refused."""
    found = np.load(io.BytesIO(bytes(value)), allow_pickle=False)
    array: np.ndarray[Any, Any] = found["arr"] if codec == "CompressedNdarrayCodec" else found
    return array


def _pixels(field: StoredField, content: bytes) -> np.ndarray[Any, Any]:
    """Decode a picture to its field's kind: (H, W) grey or (H, W, C), uint8 or uint16, opacity last."""
    from sr_model.inference.pictures import decode_picture  # as below

    found = decode_picture(content)
    whole = found.pixels if found.alpha is None else np.concatenate([found.pixels, found.alpha], axis=2)
    if len(field.shape) == 2:
        return whole[..., 0]
    sides = field.shape[2] if len(field.shape) == 3 else None
    return np.repeat(whole, 3, axis=2) if sides == 3 and whole.shape[2] == 1 else whole


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    from sr_model.inference.pictures import Picture, encode_picture  # wanted for arrays alone, not for each start

    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if (
        pixels.ndim != 3
        or pixels.shape[2] not in (1, 3)
        or pixels.dtype not in (np.uint8, np.uint16)
        or not pixels.size
    ):
        raise BrokenImage(f"an array {pixels.shape} of {pixels.dtype}, which is no picture")
    return encode_picture(Picture(np.ascontiguousarray(pixels)), "png")[0]


def _spark_image(value: Mapping[str, Any]) -> bytes:
    """Make a PNG of Spark's image struct (format `image`): bytes of blue, green and red, or grey, or with opacity."""
    height, width, channels = (int(value[key] or 0) for key in ("height", "width", "nChannels"))
    data = bytes(value["data"] or b"")
    if channels not in (1, 3, 4) or not data or len(data) != height * width * channels:
        raise BrokenImage(f"{len(data)} bytes for {height} × {width} pixels of {channels} channels")
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    return _png(pixels if channels == 1 else pixels[..., 2::-1])


class PictureRows:
    """Read the pictures of one file by their place, `ROW_GROUP:ROW:COLUMN`; a row group is kept while it is asked for.

    Args:
        file: a Parquet file of a data set.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._set = file, ParquetSet(file)
        self._at: tuple[int, str] = (-1, "")
        self._values: pa.ChunkedArray | None = None

    def read(self, place: str) -> bytes:  # called as an archive's
        """Return the picture's file.

        Raises:
            BrokenImage: no picture there, or the file cannot be read.
        """
        index, row, column = place.split(":", 2)
        if self._at != (int(index), column):
            try:
                table = self._set.read(Group(self._file, int(index), 0, {}), [column])
            except UserError as error:
                raise BrokenImage(str(error)) from error
            self._at, self._values = (int(index), column), table.column(column)
        assert self._values is not None
        return self._set.picture(column, self._values[int(row)].as_py())

    def close(self) -> None:
        """Let go of what was read."""
        self._values = None
