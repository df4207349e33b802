"""Many objects through one function: shards of one sorted list, worker processes, and what is left to do after a stop.

There is no scheduler here: the shell, GNU parallel and Slurm start batches. The manifest records what is done, so the
same command resumes where it was stopped.
"""

from typing import TYPE_CHECKING

from gatlas.batch.options import Batchable, BatchOptions
from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.batch.run import BatchOutcome, run_batch
    from gatlas.batch.work import BatchWork

__all__ = ["BatchOptions", "BatchOutcome", "BatchWork", "Batchable", "run_batch"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BatchOutcome": "gatlas.batch.run",
        "BatchWork": "gatlas.batch.work",
        "run_batch": "gatlas.batch.run",
    },
)
