"""Many objects through one verb: shards of one sorted list, worker processes, and what is left to do after a stop.

There is no scheduler here: the shell, GNU parallel and Slurm start batches. What is done is known from the manifest
(`gatlas.io.sets.results`), so the same command goes on where it was stopped.
"""

from gatlas.batch.places import refuse_captions, refuse_overwriting, without_members, without_products
from gatlas.batch.plan import Plan, Task, fingerprint_of, foreign_file, made_line, make_plan
from gatlas.batch.shards import parse_shard, slurm_shard, take_shard
from gatlas.batch.workers import Ended, Job, ReadAhead, Reply, count_devices, in_order, run

__all__ = [
    "Ended",
    "Job",
    "Plan",
    "ReadAhead",
    "Reply",
    "Task",
    "count_devices",
    "fingerprint_of",
    "foreign_file",
    "in_order",
    "made_line",
    "make_plan",
    "parse_shard",
    "refuse_captions",
    "refuse_overwriting",
    "run",
    "slurm_shard",
    "take_shard",
    "without_members",
    "without_products",
]
