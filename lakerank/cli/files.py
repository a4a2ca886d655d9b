"""Write local files so that a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from lakerank.cli.errors import UserError


def write_file(path: Path, content: bytes, flag: str) -> None:
    """Write a file in one step, with the folders above it.

    Args:
        path: where.
        content: what.
        flag: the flag to name if it cannot be written, e.g. `--out`.

    Raises:
        UserError: it cannot be written.
    """
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write it ({os.strerror(error.errno or 0)}); choose another {flag}") from error
