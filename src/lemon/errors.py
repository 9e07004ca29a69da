"""The two ways a command ends badly, and the exit code of each."""

import re


class LemonError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback.

    Messages quote what is wrong. What a terminal would obey is spelled out in them, and words that
    are too long to be read are cut.
    """

    exit_code = 1

    def __str__(self) -> str:
        told = re.sub(r"(\S{200})\S{200,}", r"\1...", super().__str__())
        shown = (sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in told)
        return "".join(shown)


class WorkFailed(LemonError):
    """The input was right and the work failed: no disk space, a diverged run, a broken download."""

    exit_code = 1


class BadInput(LemonError):
    """What the user gave can't be right. The message says what, where, and the mend."""

    exit_code = 2
