"""The one exception that is meant for the user's eyes."""


class GatlasError(Exception):
    """Something that the user can fix: which file, what is wrong, what to do.

    The command line prints the message as it stands and exits with status 1; there is no traceback.
    """
