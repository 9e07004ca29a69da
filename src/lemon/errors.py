"""The kinds of error that end a command, with their exit codes."""

import re


class LemonError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback.

    Messages quote input, so control characters are escaped, and words of 400 or more characters are
    cut to 200.
    """

    exit_code = 1

    def __str__(self) -> str:
        told = re.sub(r"(\S{200})\S{200,}", r"\1...", super().__str__())
        shown = (sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in told)
        return "".join(shown)


class WorkFailed(LemonError):
    """The input was valid but the work failed: disk full, run diverged, download broken."""

    exit_code = 1


class Diverged(WorkFailed):
    """A training loss is not finite or has grown too far to recover."""


class Terminated(LemonError):
    """SIGTERM ended a training run after a step, and its checkpoint was written."""

    exit_code = 143  # that of a process that the signal ends


class BadInput(LemonError):
    """The user's input is wrong. The message says what is wrong, where, and how to fix it."""

    exit_code = 2
