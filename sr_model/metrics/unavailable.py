"""What a metric says when it cannot be computed here."""

from __future__ import annotations


class Unavailable(Exception):
    """Something a metric needs is not here; the message says what, and how to get it."""
