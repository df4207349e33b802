"""Many objects through one function: shards of one sorted list, worker processes, and what is left to do after a stop.

There is no scheduler here: the shell, GNU parallel and Slurm start batches. The manifest
(`gatlas.io.sets.results`) records what is done, so the same command resumes where it was stopped.
"""

from gatlas.batch.options import Batchable, BatchOptions

__all__ = ["BatchOptions", "Batchable"]
