"""Export the factors of a latent-factor model for a vector store: vectors with norms, and an index of the items.

Reads what `lfm` has published last; writes files into `--out`. A lake in a folder needs no Spark session. The guide is
docs/lfm.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakerank.cli.command import run_command
from lakerank.cli.errors import UserError
from lakerank.cli.settings import JobArgs, flag
from lakerank.cli.stores import has_scheme, is_in_object_store, local_folder
from lakerank.recommend.serving.export import FORMATS, INDEXES, METRICS, export_factors
from lakerank.spark.on_demand import spark_on_demand


@dataclass(frozen=True)
class ExportArgs(JobArgs):
    """Settings of the export_factors job."""

    out: str = flag("", "folder for the files, local or in an object store", metavar="DIR")
    metric: str = flag("product", "what the store compares vectors by; the order is the same", choices=list(METRICS))
    format: str = flag("parquet", "of the files; arrow: the IPC file format", choices=list(FORMATS))
    index: str = flag("none", "index of the items, if its library is installed", choices=list(INDEXES))


def run(args: ExportArgs) -> Mapping[str, Any]:
    """Read the model, write the files."""
    if not args.out or (has_scheme(args.out) and not is_in_object_store(args.out)):
        raise UserError("say where the files go: --out DIR, a folder, local or in an object store")
    with (
        spark_on_demand("lakerank-export-factors", args.master, args.remote) as get_spark,
        local_folder(args.out) as folder,
    ):
        found = export_factors(args.lake, str(folder), get_spark, args.metric, args.format, args.index)
    print(
        f"export_factors: {found['users']:,} users and {found['items']:,} items, {found['dimensions']} coordinates "
        f"each, in {args.out}"
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(run, ExportArgs, "export_factors", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
