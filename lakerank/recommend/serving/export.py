"""Export the factors of a published model for vector stores: files of vectors with their norms, and an index.

A score is μ + b_u + b_i + p_u·q_i. With the item's bias as one more coordinate, and a 1 in the user's vector, it is an
inner product and a number that is the same for all items of a user: x_u·y_i, x = (p, 1), y = (q, b_i). A store that
compares by angle alone ranks the same once all items have one length: y gets another coordinate √(M² − ‖y‖²), M the
longest, and x a 0 (Bachrach et al. 2014, Speeding up the Xbox recommender system using a Euclidean transformation for
inner-product spaces).

Shape suffixes: N rows, D coordinates.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from lakerank.cli.errors import UserError
from lakerank.cli.files import write_file
from lakerank.lake.delta_arrow import GetSpark
from lakerank.lake.schemas import RATINGS
from lakerank.recommend.serving.store import Factors, read_factors

METRICS = ("product", "cosine")
FORMATS = ("parquet", "arrow")
INDEXES = ("none", "faiss", "usearch")
_ROWS_AT_ONCE = 65_536


def export_factors(
    lake: str, out: str, get_spark: GetSpark, metric: str = "product", form: str = "parquet", index: str = "none"
) -> dict[str, Any]:
    """Export the factors of the newest `lfm` model of a lake; return what `manifest.json` says.

    Args:
        lake: where the tables are; they are read at the versions that one publication names.
        out: folder for `users` and `items` (id, `vector` float32 (D), `norm`; of users also `offset`, what a product
            lacks to the predicted rating), `manifest.json`, and the index of the items; the manifest is written last.
        get_spark: gives a session for tables of a catalog.
        metric: what the vectors are compared by, `product` or `cosine`; the order of items is the same.
        form: `parquet` or `arrow` (the IPC file format).
        index: `none`, `faiss` or `usearch`: an index of the items, exact with faiss. Its keys are the ids where they
            are whole numbers, else the rows of the file, from 0.

    Raises:
        UserError: there is no model, the folder cannot be written, or the index's library is not installed.
    """
    newest, tables = read_factors(lake, get_spark)
    params = newest.settings["params"]
    users, items = (vectors_of(tables, metric)[side] for side in ("user", "item"))
    builder = _index_builder(index, metric)
    offset = float(params["mean"]) + tables["user"][2].astype(np.float64)
    source = next((member for member in newest.sources if member.name == RATINGS.name), None)
    manifest = {
        "model": params["settings"]["model"],
        "run": newest.run_id,
        "ratings_version": None if source is None else source.version,
        "metric": metric,
        "dimensions": int(items.shape[1]),
        "users": len(users),
        "items": len(items),
        "index": index,
        "score": "offset of the user + product of the vectors" if metric == "product" else "order alone, by cosine",
    }
    others = (f"{side}.{kind}" for side in ("items", "users") for kind in (*FORMATS, *INDEXES) if kind != form)
    for old in ("manifest.json", *others):  # of an earlier export; the manifest first, which vouches for the others
        (Path(out) / old).unlink(missing_ok=True)
    _write(out, "items", form, _table("item", tables["item"][0], items))
    _write(out, "users", form, _table("user", tables["user"][0], users, offset))
    if builder is not None:
        write_file(Path(out) / f"items.{index}", builder(_keys(tables["item"][0]), items), "--out")
    write_file(Path(out) / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode(), "--out")
    return manifest


def vectors_of(tables: Factors, metric: str) -> dict[str, NDArray[np.float32]]:
    """Return the vectors of users and items, float32 (N, D) each; see the module.

    Args:
        tables: for `user` and `item`: ids, factors (N, K), biases (N).
        metric: `product` or `cosine`.
    """
    (_, p, _), (_, q, b) = tables["user"], tables["item"]
    x = np.column_stack([p, np.ones(len(p), np.float32)])
    y = np.column_stack([q, b])
    if metric == "cosine":
        squares = np.square(y.astype(np.float64)).sum(axis=1)
        longer = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        x, y = np.column_stack([x, np.zeros(len(x))]), np.column_stack([y, longer])
    return {"user": np.ascontiguousarray(x, np.float32), "item": np.ascontiguousarray(y, np.float32)}


def _table(
    side: str, ids: pa.Array, vectors: NDArray[np.float32], offset: NDArray[np.float64] | None = None
) -> pa.Table:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1).astype(np.float32)
    columns = {f"{side}_id": ids, "vector": lists, "norm": pa.array(norms)}
    return pa.table(columns if offset is None else columns | {"offset": pa.array(offset)})


def _write(out: str, name: str, form: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    if form == "parquet":
        pyarrow.parquet.write_table(table, sink, row_group_size=_ROWS_AT_ONCE)
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, _ROWS_AT_ONCE)
    write_file(Path(out) / f"{name}.{form}", sink.getvalue(), "--out")


def _keys(ids: pa.Array) -> NDArray[np.int64]:
    return ids.to_numpy(zero_copy_only=False) if pa.types.is_integer(ids.type) else np.arange(len(ids), dtype=np.int64)


def _index_builder(index: str, metric: str) -> Any:
    """Return a function that makes the bytes of an index; None if none is wanted.

    Raises:
        UserError: its library is not installed.
    """
    if index == "none":
        return None
    try:
        return _faiss_builder(metric) if index == "faiss" else _usearch_builder(metric)
    except ImportError as error:
        package = "faiss-cpu" if index == "faiss" else "usearch"
        raise UserError(f"--index {index}: `{index}` is not installed: pip install {package}") from error


def _faiss_builder(metric: str) -> Any:
    import faiss  # type: ignore[import-not-found, unused-ignore]

    def build(keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> bytes:
        found = faiss.IndexIDMap(faiss.IndexFlatIP(vectors.shape[1]))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else 1.0
        found.add_with_ids(np.ascontiguousarray(vectors / np.maximum(norms, 1e-30), np.float32), keys)
        return bytes(faiss.serialize_index(found).tobytes())

    return build


def _usearch_builder(metric: str) -> Any:
    from usearch.index import Index  # type: ignore[import-not-found, unused-ignore]

    def build(keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> bytes:
        found = Index(ndim=vectors.shape[1], metric="ip" if metric == "product" else "cos", dtype="f32")
        found.add(keys.astype(np.uint64), vectors)
        return bytes(found.save())

    return build
