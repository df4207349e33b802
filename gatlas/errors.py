"""Exceptions that the command line catches: one that the user can fix, and one that asks to run the command again."""


class GatlasError(Exception):
    """Something that the user can fix: which file, what is wrong, what to do.

    The command line prints the message as it stands and exits with status 1; there is no traceback.
    """


def first_sentence(error: Exception) -> str:
    """Return the first sentence of what a library says, which may be many lines; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0] if lines else type(error).__name__


class DeviceMemoryError(GatlasError):
    """The memory of a device is full. Of the processes of one training, only the one that it happened to raises it."""


class Requeue(Exception):  # noqa: N818  # no error
    """Work that was stopped on request after saving its state: running the same command again resumes it.

    The command line prints the message as it stands and exits with status 75.
    """
