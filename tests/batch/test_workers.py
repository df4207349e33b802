"""Workers: nothing that a job does ends the batch, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gatlas.batch.workers import JobResult, ReadAhead, count_devices, in_order, run_jobs
from gatlas.errors import GatlasError
from tests.helpers.waiting import LIMIT, read_next, running


def work(job):
    """Do what the job names."""
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "exit":
        os._exit(7)
    if job == "slow":
        time.sleep(0.5)
    if job == "sleep":
        Path("asleep").touch()
        time.sleep(600)
    return JobResult("ok", {"pid": os.getpid()})


def results(jobs, function=work, **options):
    """The results of all jobs, in the order of ends."""
    return [result for _, _, result in run_jobs(jobs, function, **options)]


def test_every_job_ends_once():
    ends = list(run_jobs("abcdefg", work, processes=3))
    assert sorted((number, job) for number, job, _ in ends) == list(enumerate("abcdefg"))


def test_a_worker_lives_for_many_jobs():
    ends = results("abcdef")
    assert len({end.record["pid"] for end in ends}) == 1


def test_a_worker_that_is_killed_is_reported_and_replaced():
    ends = results(["a", "die", "b"])
    assert [end.status for end in ends] == ["ok", "failed", "ok"]
    assert "killed, most likely for want of memory" in ends[1].error


def test_a_worker_that_exits_is_reported():
    ends = results(["exit", "a"])
    assert ends[0].error == "its process ended with exit status 7"
    assert ends[1].status == "ok"


class Clock:
    """The time of a batch: it stands still, so that no object takes long, until one sleeps. Then a minute is over."""

    now = 0.0

    def monotonic(self):
        return self.now

    def look(self):
        """What the batch asks at every turn, whether to stop: no."""
        if Path("asleep").exists():
            self.now = 60.0
        return False


@pytest.fixture
def clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    monkeypatch.setattr("gatlas.batch.workers.time", clock)
    return clock


def test_a_job_that_takes_too_long_is_killed(clock):
    ends = results(["sleep", "a"], timeout=20.0, should_stop=clock.look)
    assert [end.status for end in ends] == ["failed", "ok"]
    assert "--timeout" in ends[0].error


def test_no_job_begins_after_a_stop():
    asked = iter([False, False, True])
    ends = results("abcdefgh", should_stop=lambda: next(asked, True))
    assert 0 < len(ends) < 8
    assert all(end.status == "ok" for end in ends)


def test_ends_come_in_the_order_of_the_jobs():
    ends = list(run_jobs("abcdefgh", work, processes=3))
    shuffled = sorted(ends, key=lambda end: -end[0])
    assert [job for _, job, _ in in_order(shuffled)] == list("abcdefgh")


def test_no_job_begins_far_ahead_of_the_first_that_runs():
    numbers = [number for number, _, _ in run_jobs(["slow", *"abcdefgh"], work, processes=2, ahead=3)]
    assert sorted(numbers) == list(range(9))
    assert numbers.index(0) <= 2


def test_jobs_are_taken_as_they_are_needed():
    taken = []

    def source():
        for job in "abcdefgh":
            taken.append(job)
            yield job

    ends = run_jobs(source(), work)
    next(ends)
    assert len(taken) <= 2
    ends.close()


PARENT = r"""
import os, signal, time
from gatlas.batch.workers import JobResult, run_jobs
def work(job):
    signal.alarm(600)  # one that does not end as it should is not left for ever
    os.write(1, f"{os.getpid()}\n".encode())  # one write: lines of two workers never mix
    time.sleep(0.5)
    return JobResult("ok")
def jobs():
    yield "a"
    yield "b"
    time.sleep(600)
if __name__ == "__main__":
    list(run_jobs(jobs(), work, processes=3))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)  # a file: a worker that is not forked reads it again
    with running([sys.executable, "parent.py"], cwd=tmp_path, stdout=subprocess.PIPE, bufsize=0) as parent:
        said = b""
        while said.count(b"\n") < 2:
            said += read_next(parent.stdout.fileno(), "two workers") or pytest.fail("no workers")
        parent.kill()
        # The pipe has an end when all that could write into it are gone, whoever reaps them.
        assert read_next(parent.stdout.fileno(), "the workers to end") == b""


def test_devices_are_counted():
    assert count_devices({"CUDA_VISIBLE_DEVICES": "0,3"}) == 2
    assert count_devices({"CUDA_VISIBLE_DEVICES": ""}) == 0


def test_workers_take_turns_on_the_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    seen = {end.record["device"] for end in results("ab", device_of, processes=2, devices=2)}
    assert seen == {"4", "7"}


def device_of(job):
    time.sleep(0.2)
    return JobResult("ok", {"device": os.environ["CUDA_VISIBLE_DEVICES"]})


def test_no_worker_is_left_where_the_reader_of_the_ends_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ends = run_jobs(["a", "sleep"], work, processes=2)
    _, _, first = next(ends)
    ends.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first.record["pid"], 0)


# What a pipe brings


def test_what_is_read_ahead_comes_in_order_and_nothing_is_lost():
    ahead = ReadAhead(range(500))
    assert list(ahead) == list(range(500))
    assert list(ahead) == []  # the end stays the end


def test_what_the_source_raises_comes_behind_its_items():
    def source():
        yield "a"
        yield "b"
        raise GatlasError("the tar breaks off")

    ahead = ReadAhead(source())
    assert [next(ahead), next(ahead)] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(GatlasError, match="breaks off"):
            next(ahead)


class Idling:
    """A source of jobs that lets one wait behind the first of them until it may resume."""

    def __init__(self, *jobs):
        self.jobs = jobs
        self.resume = threading.Event()

    def __iter__(self):
        yield self.jobs[0]
        assert self.resume.wait(60)
        yield from self.jobs[1:]


def test_ends_come_while_the_next_job_is_waited_for():
    source = Idling(*"abc")
    ahead = ReadAhead(source)
    ends = run_jobs(ahead, work, processes=2, upstream=ahead)
    assert next(ends)[:2] == (0, "a")
    source.resume.set()
    assert sorted(job for _, job, _ in ends) == ["b", "c"]


def test_a_stop_ends_the_wait_for_the_next_job():
    source = Idling(*"abc")
    ahead = ReadAhead(source)
    asked = threading.Event()
    ends = run_jobs(ahead, work, should_stop=asked.is_set, upstream=ahead)
    next(ends)
    asked.set()
    assert list(ends) == []
    source.resume.set()


def test_a_job_is_killed_for_its_time_limit_while_the_next_job_is_waited_for(clock):
    source = Idling("sleep", "a")
    ahead = ReadAhead(source)
    ends = run_jobs(ahead, work, processes=2, timeout=20.0, should_stop=clock.look, upstream=ahead)
    assert "--timeout" in next(ends)[2].error
    source.resume.set()
    assert [result.status for _, _, result in ends] == ["ok"]


def test_no_job_of_an_upstream_begins_far_ahead():
    ahead = ReadAhead(["slow", *"abcdefgh"])
    numbers = [number for number, _, _ in run_jobs(ahead, work, processes=2, ahead=3, upstream=ahead)]
    assert sorted(numbers) == list(range(9))
    assert numbers.index(0) <= 2


WAITING = r"""
from gatlas.batch.workers import ReadAhead
from gatlas.io import stream_members
ahead = ReadAhead(stream_members("-"))
print("waits", flush=True)
"""


def test_a_thread_that_waits_for_a_pipe_ends_with_its_process():
    words = [sys.executable, "-c", WAITING]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(bytes(100))  # less than a header
        process.stdin.flush()
        assert process.wait(60) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"waits\n", b"")


SUMS = """
import torch
from gatlas.batch.workers import JobResult, run_jobs

def added(job):
    return JobResult("ok", {"sum": float(torch.ones(1 << 20).sum())})

if __name__ == "__main__":
    torch.set_num_threads(2)
    added("here")
    ((_, _, end),) = run_jobs(["there"], added)
    print(end.record["sum"])
"""


def test_a_worker_of_a_process_whose_torch_has_threads_does_not_wait_for_them(tmp_path):
    (tmp_path / "sums.py").write_text(SUMS)
    run = subprocess.run([sys.executable, "sums.py"], cwd=tmp_path, stdout=subprocess.PIPE, timeout=LIMIT)
    assert (run.returncode, run.stdout) == (0, b"1048576.0\n")
