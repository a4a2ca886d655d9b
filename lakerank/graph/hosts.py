"""The web of hosts: links between pages added up to links between the hosts they stand on."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError


def host_links(links: DataFrame, keep_own: bool = False) -> DataFrame:
    """Links between hosts: relation `host_links`.

    A page votes once for each host it links to, however many links lead there, so that menus do not add up; the weight
    of a link between hosts is how many pages vote for it.

    Args:
        links: `src_url` and `dst_url` string; `nofollow` boolean if it is there: such links do not count.
        keep_own: whether links of a host to itself count.

    Raises:
        UserError: a column is missing.
    """
    for name in ("src_url", "dst_url"):
        if name not in links.columns:
            raise UserError(f"links: column `{name}` is missing; the web of hosts needs the addresses of both ends")
    if "nofollow" in links.columns:
        links = links.where("nofollow IS NOT TRUE")
    ends = links.select("src_url", _host("src_url").alias("src"), _host("dst_url").alias("dst"))
    ends = ends.where("src IS NOT NULL AND dst IS NOT NULL")
    if not keep_own:
        ends = ends.where("src <> dst")
    votes = ends.distinct()
    return votes.groupBy("src", "dst").agg(F.count("*").cast("double").alias("weight"))


def _host(url: str) -> Column:
    """The host of an address in lower case, without port, without a dot at the end; null if there is none."""
    host: Column = F.lower(F.regexp_extract(F.col(url), r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]+)", 1))
    return F.nullif(F.rtrim(host, F.lit(".")), F.lit(""))
