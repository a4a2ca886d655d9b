"""The error that is the user's to mend."""

from __future__ import annotations

import re


class UserError(Exception):
    """Wrong input, flag, file or table: shown as one sentence, exit code 2, no stack trace.

    The message names the file, row, column or flag that is wrong and says what to do about it.
    """


def quoted_user_error(error: BaseException) -> str:
    """Return the words of a `UserError` that Spark quotes from a worker's stack trace; empty if it quotes none.

    Args:
        error: what a job died of.
    """
    found = re.search(rf"{re.escape(UserError.__module__)}\.UserError: (.+)", str(error))
    return found[1].strip() if found else ""
