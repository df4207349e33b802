"""A disk on which no file grows beyond a size: a write that would is taken in part, and the next one fails."""

import resource
from contextlib import contextmanager


@contextmanager
def files_limited_to(size):
    """Let this process write no byte of a file beyond `size` in the block: the error is EFBIG, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
