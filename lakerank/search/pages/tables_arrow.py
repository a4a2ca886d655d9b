"""From rows as read to the tables, on the driver: `assemble` for what fits there, row for row the same.

A Spark job costs half a second and more whatever it does; some pages an hour need none of the dozen in `assemble`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lakerank.lake.schemas import LINKS, PAGES, PAGES_REJECTED
from lakerank.search.pages.read_file import PAGE, REDIRECT, REJECTED, SKIPPED
from lakerank.search.pages.tables_spark import ROUNDS, Survey
from lakerank.search.pages.urls import page_id

_KINDS = ("http", "refresh", "canonical")  # which of two counts
_REDIRECTS = pa.schema([("url", pa.string()), ("target_url", pa.string()), ("kind", pa.string())])


@dataclass(frozen=True)
class Settled:
    """Columns of the tables `pages` (nothing known of duplicates yet), `links`, `redirects`, `pages_rejected`."""

    pages: pa.Table
    links: pa.Table
    redirects: pa.Table
    rejected: pa.Table


def survey(rows: pa.Table) -> Survey:
    """Count the rows (`rows.ROWS`)."""
    pages = _of_kind(rows, PAGE)
    reasons = pc.value_counts(_of_kind(rows, SKIPPED)["reason"]).to_pylist()
    elsewhere = pc.not_equal(pages["canonical_url"], pages["url"])
    return Survey(
        len(pages),
        len(pc.unique(pages["url"])),
        pc.sum(pc.list_value_length(pages["links"])).as_py() or 0,
        pc.sum(elsewhere).as_py() or 0,
        len(_of_kind(rows, REDIRECT)),
        len(_of_kind(rows, REJECTED)),
        {row["values"]: row["counts"] for row in sorted(reasons, key=lambda row: row["values"])},
    )


def settle(rows: pa.Table) -> Settled:
    """The tables; see `assemble` for what each step means."""
    pages = newest_pages(_of_kind(rows, PAGE))
    told = _of_kind(rows, REDIRECT).select(["url", "target_url", "reason"]).rename_columns(_REDIRECTS.names)
    ends = follow(redirects(told, pages))
    bad = _of_kind(rows, REJECTED)
    offset = pc.fill_null(bad["source_offset"], 0)
    rejected = bad.append_column("offset", offset).select([column.name for column in PAGES_REJECTED.columns])
    links = resolved(raw_links(pages), ends)
    pages = pages.append_column("duplicate_of", pa.nulls(len(pages), pa.int64()))
    pages = pages.append_column("similarity", pa.nulls(len(pages), pa.float64()))
    return Settled(pages.select([column.name for column in PAGES.columns]), links, ends, rejected)


def _of_kind(rows: pa.Table, kind: str) -> pa.Table:
    return rows.filter(pc.equal(rows["kind"], kind))


def newest_pages(pages: pa.Table) -> pa.Table:
    """One page for each address: the one fetched last, then the last in its file."""
    if len(pc.unique(pages["page_id"])) == len(pages):
        return pages
    down = [(name, "descending") for name in ("fetched_at", "source", "source_offset")]
    order = pc.sort_indices(pages, [("page_id", "ascending"), *down])  # nulls last
    return pages.take(order.filter(_firsts(pages["page_id"].take(order))))


def _firsts(sorted_values: pa.ChunkedArray) -> pa.Array:
    """Whether each value differs from the one before it."""
    values = sorted_values.combine_chunks()
    if not len(values):
        return pa.array([], pa.bool_())
    return pa.concat_arrays([pa.array([True]), pc.not_equal(values[1:], values[:-1])])


def redirects(told: pa.Table, pages: pa.Table) -> pa.Table:
    """What was told and the pages' canonical addresses, one step each.

    Args:
        told: `url`, `target_url`, `kind` (http or refresh).
        pages: `url`, `canonical_url`, among others.
    """
    known = pages["url"].combine_chunks()
    canonical = pages.filter(pc.is_in(pages["canonical_url"], known, skip_nulls=True))
    claims = [canonical["url"], canonical["canonical_url"], pa.nulls(len(canonical), pa.string()).fill_null(_KINDS[2])]
    moved = pc.and_(pc.equal(told["kind"], "http"), pc.is_in(told["url"], known))
    step = pa.concat_tables([told.filter(pc.invert(moved)), pa.table(claims, schema=_REDIRECTS)])
    step = step.filter(pc.not_equal(step["url"], step["target_url"]))
    rank = pc.index_in(step["kind"], pa.array(_KINDS))
    order = pc.sort_indices(
        step.append_column("rank", rank), [(name, "ascending") for name in ("url", "rank", "target_url")]
    )
    return step.take(order.filter(_firsts(step["url"].take(order))))


def follow(step: pa.Table) -> pa.Table:
    """Each redirect with the end of its chain as its target; circles, and chains that are too long, stay as told."""
    jump = dict(zip(step["url"].to_pylist(), step["target_url"].to_pylist(), strict=True))
    told = dict(jump)
    for _ in range(ROUNDS):
        jump = {url: jump.get(end, end) for url, end in jump.items()}
    ends = [told[url] if end in told else end for url, end in jump.items()]
    return step.set_column(1, "target_url", pa.array(ends, pa.string()))


def raw_links(pages: pa.Table) -> pa.Table:
    """One row for each link of the pages, as it stands there (columns of the `links` table)."""
    names = [column.name for column in LINKS.columns]
    schema = pa.schema(
        [("src", pa.int64()), ("dst", pa.int64())]
        + [(name, pa.string()) for name in ("src_url", "dst_url", "anchor")]
        + [("nofollow", pa.bool_()), ("zone", pa.string()), ("weight", pa.float64())]
    )
    return pa.Table.from_batches(_flat(pages, names), schema)


def _flat(pages: pa.Table, names: list[str]) -> Iterable[pa.RecordBatch]:
    for batch in pages.select(["page_id", "url", "links"]).to_batches():
        parents, links = pc.list_parent_indices(batch["links"]), pc.list_flatten(batch["links"])
        columns = {"src": batch["page_id"].take(parents), "src_url": batch["url"].take(parents)}
        columns |= {field.name: links.field(field.name) for field in links.type}
        yield pa.record_batch([columns[name] for name in names], names=names)


def resolved(links: pa.Table, ends: pa.Table) -> pa.Table:
    """Links whose targets are where the redirects end; those that lead back to their own page are left out."""
    ended = ends.filter(pc.invert(pc.is_in(ends["target_url"], ends["url"].combine_chunks())))  # no circles
    if not len(ended):
        return links
    place = pc.index_in(links["dst_url"], ended["url"].combine_chunks())
    there = ended["target_url"].combine_chunks()
    ids = pa.array(map(page_id, there.to_pylist()), pa.int64())
    new = {"dst_url": pc.coalesce(there.take(place), links["dst_url"])}
    new["dst"] = pc.coalesce(ids.take(place), links["dst"])
    for name, column in new.items():
        links = links.set_column(links.column_names.index(name), name, column)
    return links.filter(pc.not_equal(links["dst"], links["src"]))


def with_duplicates(pages: pa.Table, copies: pa.Table) -> pa.Table:
    """Pages that know what they copy.

    Args:
        pages: columns of the `pages` table.
        copies: `page_id`, `duplicate_of`, `similarity`.
    """
    place = pc.index_in(pages["page_id"], copies["page_id"].combine_chunks())
    for name in ("duplicate_of", "similarity"):
        column = copies[name].combine_chunks().take(place)
        pages = pages.set_column(pages.column_names.index(name), name, column)
    return pages
