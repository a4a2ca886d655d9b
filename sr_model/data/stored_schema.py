"""The Unischema that a Petastorm data set stores, read without Petastorm, and without running what a pickle names.

Petastorm pickles its schema into `_common_metadata`. Data sets in the field were written by Python 2 and 3, by releases
from 0.4 on and by the project's predecessors at Uber, and by processes whose named tuples pyspark had changed; all of
these name other classes for the same few things.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

UNISCHEMA_KEY = b"dataset-toolkit.unischema.v1"  # in the metadata of `_common_metadata`

_LARGEST_SCHEMA = 1 << 20  # bytes; ours has some hundred
_SPARK_TYPES = (
    *("String", "Binary", "Boolean", "Byte", "Short", "Integer", "Long", "Float", "Double", "Decimal", "Null"),
    *("Date", "Timestamp", "TimestampNTZ", "Char", "Varchar", "Array", "Map", "Struct"),
)
_NUMPY = (
    *("dtype", "str_", "bytes_", "unicode_", "string_", "bool_", "bool", "object_", "datetime64"),
    *("float16", "float32", "float64", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))),
)
_BUILTINS = {"object", "tuple", "list", "str", "unicode", "bytes", "bytearray", "int", "long", "float", "bool"}
_SCHEMA_PARTS = {
    "collections": {"OrderedDict"},
    "copyreg": {"_reconstructor"},
    "builtins": _BUILTINS,
    "decimal": {"Decimal"},
    "datetime": {"date", "datetime"},
    "numpy": set(_NUMPY),
    "petastorm.unischema": {"Unischema", "UnischemaField"},
    "petastorm.codecs": {"NdarrayCodec", "CompressedNdarrayCodec", "CompressedImageCodec", "ScalarCodec"},
    "pyspark.sql.types": {*(f"{name}Type" for name in _SPARK_TYPES), "StructField"},
    "pyspark.serializers": {"_restore"},
}
# What modules were called in Python 2, and before Petastorm had its name.
_OLD_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    **{
        f"{package}.{module}": f"petastorm.{module}"
        for package in ("av.experimental.deepdrive.dataset_toolkit", "av.ml.dataset_toolkit")
        for module in ("codecs", "unischema")
    },
}


class _Part:
    """Stands for an object of a schema; what the pickle gave it is only kept.

    The real classes do not serve: `numpy.bytes_(10**10)`, which a pickle may ask for, fills 10 GB.
    """

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Part:
        """Keep the arguments."""
        part = super().__new__(cls)
        part.args, part.state = args, None
        return part

    args: tuple[Any, ...]
    state: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing more."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.state = state

    def __call__(self, *args: Any) -> _Part:
        """Raise: no part of a schema is a function.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError(f"it calls a {self.name}, which no schema does")


def _reconstructed(kind: Any, base: Any, state: Any) -> _Part:
    """Make what Python 2's `copy_reg._reconstructor` asks for: an object of a class, its content if it is a tuple."""
    if not (isinstance(kind, type) and issubclass(kind, _Part)):
        raise pickle.UnpicklingError("it makes something that no schema holds")
    return kind(*state) if isinstance(state, tuple | list) else kind()


def _restored(name: Any, fields: Any, values: Any) -> _Part:
    """Make what pyspark's `_restore` asks for, by which it pickles named tuples: here a field."""
    if name != "UnischemaField" or not isinstance(values, tuple | list):
        raise pickle.UnpicklingError(f"it restores a {name!s:.40}, which no schema needs")
    given = dict(zip(fields, values, strict=True))
    order = ("name", "numpy_dtype", "shape", "codec", "nullable")
    field = _kind("UnischemaField")(*(given.get(key) for key in order))
    assert isinstance(field, _Part)
    return field


def _kind(name: str) -> Any:
    return type(name, (_Part,), {"name": name})


class _SchemaOnly(pickle.Unpickler):
    """Makes stand-ins for what a Unischema is made of and nothing else.

    A pickle can name any function, and it would be called.
    """

    def find_class(self, module: str, name: str) -> Any:
        module = _OLD_MODULES.get(module, module)
        if name not in _SCHEMA_PARTS.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no schema needs")
        special = {"OrderedDict": OrderedDict, "_reconstructor": _reconstructed, "_restore": _restored}
        return special.get(name) or _kind(name)


@dataclass(frozen=True)
class StoredField:
    """Describe a field of a stored schema.

    Attributes:
        codec: the name of its codec's class, empty for none.
        dtype: the name of its numpy type, or `Decimal`; empty where it cannot be told.
        shape: None for a side of any length; () for a scalar.
        image: `png` or `jpeg` of a CompressedImageCodec, else empty.
        nullable: whether it may be missing.
    """

    codec: str
    dtype: str = ""
    shape: tuple[int | None, ...] = ()
    image: str = ""
    nullable: bool = False


def read_schema(pickled: bytes) -> dict[str, StoredField]:
    """Read the fields of a pickled Unischema by name, without running or making anything that is named in it.

    Raises:
        UnpicklingError: it is more than a schema, or asks for more memory than its own size.
        Exception: what unpickling foreign bytes raises, which is nearly anything.
    """
    if len(pickled) > _LARGEST_SCHEMA:
        raise pickle.UnpicklingError(f"it has more than {_LARGEST_SCHEMA} bytes")
    for code, value, _ in pickletools.genops(pickled):  # says so if the bytes announced are not there
        # The table that these numbers are places of is made as large as the number: five bytes ask for 34 GB.
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(value or 0) > len(pickled):
            raise pickle.UnpicklingError("it asks for more memory than a schema needs")
    found = _SchemaOnly(io.BytesIO(pickled), encoding="latin-1").load()
    if getattr(found, "name", "") != "Unischema" or not isinstance(found.state, dict):
        raise pickle.UnpicklingError("it is no Unischema")
    return {_text(name): _field(field) for name, field in dict(found.state["_fields"]).items()}


def _text(name: Any) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def _field(field: _Part) -> StoredField:
    _, dtype, shape, codec, nullable = (*field.args, *(None,) * 5)[:5]
    state = codec.state if isinstance(codec, _Part) and isinstance(codec.state, dict) else {}
    image = _text(state.get("_image_codec", "")).lstrip(".").replace("jpg", "jpeg")
    return StoredField(
        codec.name if isinstance(codec, _Part) else "",
        _dtype_name(dtype),
        tuple(None if side is None else int(side) for side in shape or ()),
        image,
        bool(nullable),
    )


def _dtype_name(dtype: Any) -> str:
    """Name a numpy type that a pickle gives as a class or as `dtype('uint8')`."""
    if isinstance(dtype, _Part):
        return _text(dtype.args[0]) if dtype.args else ""
    name = str(getattr(dtype, "name", ""))
    return {"unicode_": "str_", "unicode": "str_", "str": "str_", "string_": "bytes_", "bytes": "bytes_"}.get(
        name, name
    )
