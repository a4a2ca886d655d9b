"""The error that is the user's to mend."""

from __future__ import annotations

import re

# Spark's and Delta's words for a file that a table's log names and that is not there, and the file in them.
_GONE = re.compile(r"FAILED_READ_FILE\.FILE_NOT_EXIST|DELTA_FILE_NOT_FOUND|FAILED_READ_FILE[^\n]*not exist")
_FILE = re.compile(r"(\w+:/\S+?|/\S+?)/[^/\s]+\.(?:parquet|bin)\b")


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


def files_gone_problem(error: BaseException) -> str:
    """Say in one sentence that files of a table were removed, as Spark says it of a read; empty if it does not.

    Args:
        error: what a job died of; the errors that it came from are asked, too.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if found := _GONE.search(text := str(one)):
            named = _FILE.search(text, found.start())
            where = "a table" if named is None else re.sub(r"^file:/+", "/", named[1])
            return (
                f"{where}: files of the version to be read are gone (VACUUM removes those of versions that are not the "
                "newest, see docs/maintenance.md): run again the job that writes it"
            )
        one = one.__cause__ or one.__context__
    return ""
