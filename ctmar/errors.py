"""The one exception that a user is meant to read."""


class CtmarError(ValueError):
    """Bad input or configuration; its message is one line that says what is required and what came.

    Entry points print the message without a traceback and exit with status 2.
    """
