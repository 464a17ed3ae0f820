"""The one exception that a user is meant to read, and how other libraries' words become a line of it."""


class CtmarError(ValueError):
    """Bad input or configuration; its message is one line that says what is required and what came.

    Entry points print the message without a traceback and exit with status 2.
    """


def flat(said: object) -> str:
    """What something says of itself, on one line."""
    return " ".join(str(said).split())
