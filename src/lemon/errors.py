"""The two ways a command ends badly, and the exit code of each."""


class LemonError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback."""

    exit_code = 1


class WorkFailed(LemonError):
    """The input was right and the work failed: no disk space, a diverged run, a broken download."""

    exit_code = 1


class BadInput(LemonError):
    """What the user gave can't be right. The message says what, where, and the mend."""

    exit_code = 2
