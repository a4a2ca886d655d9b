"""One bad record is one rejected record: the guard that every reader puts around its work on a single record.

Parsers, conversions and Arrow each have inputs that they refuse with an error of their own (`KeyError`,
`OverflowError`, `UnicodeEncodeError`, `RecursionError`, …). Which ones these are cannot be listed, so the guard stands
around the work, not around the cases: whatever a record does, it costs that record alone (docs/adr/0042).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
_LONGEST_REASON = 200  # characters
_BASE_SECONDS = 10.0  # of processor time; the first record of a worker also loads models and compiles
_SECONDS_PER_MIB = 20.0  # some thousand times what an ordinary page takes


class TooSlowError(Exception):
    """A record took more time than its size allows."""


def attempt(work: Callable[[], T], size: int = 0) -> T | str:
    """Do the work of one record; whatever goes wrong with it is returned as the reason, in one line.

    Args:
        work: reads or converts the record; returns no text.
        size: bytes of the record, with which the time that it may take grows.
    """
    try:
        with time_limit(_BASE_SECONDS + _SECONDS_PER_MIB * size / (1 << 20)):
            return work()
    except Exception as error:
        return reason_of(error)


def reason_of(error: Exception) -> str:
    """Return one line that says what went wrong, fit for a `reason` column.

    Args:
        error: what a parser, a conversion or Arrow raised.
    """
    said = storable(" ".join(str(error).split()))
    if isinstance(error, TooSlowError):
        return said
    if isinstance(error, MemoryError):
        return "cannot be read: it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "cannot be read: it is nested too deeply"
    name = type(error).__name__
    return f"cannot be read: {name}: {said}"[:_LONGEST_REASON] if said else f"cannot be read: {name}"


def storable(text: str) -> str:
    """Return a text that Arrow, Parquet and the JVM take: U+FFFD for each lone surrogate, no NUL characters."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, in which two surrogates that belong together are one character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the block once it has used so much processor time.

    The clock is the process's own (`ITIMER_VIRTUAL`), so that a busy machine makes no record bad. The signal reaches
    Python code and regular expressions at once, a function in C when it returns. Python handles signals in its main
    thread alone, where Spark's workers run functions; elsewhere there is no limit.

    Raises:
        TooSlowError: the time is used up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"takes longer than {seconds:.0f} s of processor time, which its size does not explain")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def batches_without_bad(
    records: Sequence[T],
    to_batch: Callable[[Sequence[T]], pa.RecordBatch],
    rejected: Callable[[T, str], T],
) -> Iterator[pa.RecordBatch]:
    """Convert records to Arrow; of a batch that Arrow refuses only the culprits become rejected records.

    Halves are tried, so that one culprit among n records costs about 2 log n conversions.

    Args:
        records: of one batch.
        to_batch: converts them.
        rejected: makes the rejected record of one that cannot be converted, given the reason; Arrow must take it.
    """
    if not records:
        return
    try:
        yield to_batch(records)
        return
    except Exception as error:
        reason = reason_of(error)
    if len(records) == 1:
        yield to_batch([rejected(records[0], reason)])
        return
    middle = len(records) // 2
    yield from batches_without_bad(records[:middle], to_batch, rejected)
    yield from batches_without_bad(records[middle:], to_batch, rejected)
