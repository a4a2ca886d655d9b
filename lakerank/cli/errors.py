"""The error that is the user's to mend."""


class UserError(Exception):
    """Wrong input, flag, file or table: shown as one sentence, exit code 2, no stack trace.

    The message names the file, row, column or flag that is wrong and says what to do about it.
    """
