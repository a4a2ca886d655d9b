"""Spark's daemon for Python workers, which after each task look for garbage among what is new only.

pyspark's own looks through all that numba, pandas and PyTorch have brought, which takes longer than a task of a test.
"""

import gc
from types import SimpleNamespace

from pyspark import daemon

if __name__ == "__main__":
    daemon.gc = SimpleNamespace(collect=lambda: gc.collect(0))
    daemon.manager()
