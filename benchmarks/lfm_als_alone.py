"""MLlib's ALS with no checkpoint directory, in a process of its own: it may take the whole driver with it.

`lfm_als_alone.py TABLE ITERATIONS` (see `bench_lfm.py --memory`); exits 0 if all iterations were done.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lfm_speed_engines import als

from lakerank.spark.session import session

if __name__ == "__main__":
    with session("als-alone", "local[2]") as spark, tempfile.TemporaryDirectory() as folder:
        als(spark, Path(sys.argv[1]), 32, int(sys.argv[2]), 0.1, 2, Path(folder))
