"""Workers: nothing that an object does ends the batch, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gatlas.batch import Job, ReadAhead, Reply, count_devices, in_order, run
from gatlas.errors import GatlasError


def work(job):
    """What the job's source names."""
    if job.source == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.source == "exit":
        os._exit(7)
    if job.source == "slow":
        time.sleep(0.5)
    if job.source == "sleep":
        time.sleep(60)
    return Reply("ok", 0.0, {"pid": os.getpid(), "number": job.number})


def jobs(*sources):
    return [Job(number, f"object{number}", source, "") for number, source in enumerate(sources)]


def test_every_job_ends_once():
    ends = list(run(jobs(*"abcdefg"), work, processes=3))
    assert sorted(end.record["number"] for end in ends) == list(range(7))


def test_a_worker_lives_for_many_jobs():
    ends = list(run(jobs(*"abcdef"), work))
    assert len({end.record["pid"] for end in ends}) == 1


def test_a_worker_that_is_killed_is_reported_and_replaced():
    ends = list(run(jobs("a", "die", "b"), work))
    assert [end.status for end in ends] == ["ok", "failed", "ok"]
    assert "killed, most likely for want of memory" in ends[1].error


def test_a_worker_that_exits_is_reported():
    ends = list(run(jobs("exit", "a"), work))
    assert ends[0].error == "its process ended with exit status 7"
    assert ends[1].status == "ok"


def test_an_object_that_takes_too_long_is_given_up():
    started = time.monotonic()
    ends = list(run(jobs("sleep", "a"), work, timeout=2.0))
    assert [end.status for end in ends] == ["failed", "ok"]
    assert "--timeout" in ends[0].error
    assert time.monotonic() - started < 30  # it did not sleep for its minute


def test_no_job_begins_after_a_stop():
    asked = iter([False, False, True])
    ends = list(run(jobs(*"abcdefgh"), work, stop=lambda: next(asked, True)))
    assert 0 < len(ends) < 8
    assert all(end.status == "ok" for end in ends)


def test_ends_come_in_the_order_of_the_jobs():
    ends = list(run(jobs(*"abcdefgh"), work, processes=3))
    shuffled = sorted(ends, key=lambda end: -end.job.number)
    assert [end.job.number for end in in_order(shuffled)] == list(range(8))


def test_no_job_begins_far_ahead_of_the_first_that_runs():
    ends = list(run(jobs("slow", *"abcdefgh"), work, processes=2, ahead=3))
    numbers = [end.job.number for end in ends]
    assert sorted(numbers) == list(range(9))
    assert numbers.index(0) <= 2


def test_jobs_are_taken_as_they_are_needed():
    taken = []

    def source():
        for job in jobs(*"abcdefgh"):
            taken.append(job.number)
            yield job

    ends = run(source(), work)
    next(ends)
    assert len(taken) <= 2
    ends.close()


PARENT = r"""
import os, time
from gatlas.batch import Job, Reply, run
def work(job):
    os.write(1, f"{os.getpid()}\n".encode())  # one write: lines of two workers never mix
    time.sleep(0.5)
    return Reply("ok", 0.5, {})
def jobs():
    yield Job(0, "a", "", "")
    yield Job(1, "b", "", "")
    time.sleep(60)
list(run(jobs(), work, processes=3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_when_their_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_devices_are_counted():
    assert count_devices({"CUDA_VISIBLE_DEVICES": "0,3"}) == 2
    assert count_devices({"CUDA_VISIBLE_DEVICES": ""}) == 0


def test_workers_take_turns_on_the_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    seen = {end.record["device"] for end in run(jobs("a", "b"), device_of, processes=2, devices=2)}
    assert seen == {"4", "7"}


def device_of(job):
    time.sleep(0.2)
    return Reply("ok", 0.0, {"device": os.environ["CUDA_VISIBLE_DEVICES"]})


def test_no_worker_is_left_where_the_reader_of_the_ends_fails():
    ends = run(jobs("a", "sleep"), work, processes=2)
    pid = next(ends).record["pid"]
    ends.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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
    """A source of jobs that lets one wait behind the first of them until it is told to go on."""

    def __init__(self, *sources):
        self.jobs = jobs(*sources)
        self.go_on = threading.Event()

    def __iter__(self):
        yield self.jobs[0]
        assert self.go_on.wait(60)
        yield from self.jobs[1:]


def test_ends_come_while_the_next_job_is_waited_for():
    source = Idling(*"abc")
    ahead = ReadAhead(source)
    ends = run(ahead, work, processes=2, upstream=ahead)
    assert next(ends).job.key == "object0"
    source.go_on.set()
    assert sorted(end.job.number for end in ends) == [1, 2]


def test_a_stop_ends_the_wait_for_the_next_job():
    source = Idling(*"abc")
    ahead = ReadAhead(source)
    asked = threading.Event()
    ends = run(ahead, work, stop=asked.is_set, upstream=ahead)
    next(ends)
    asked.set()
    assert list(ends) == []
    source.go_on.set()


def test_an_object_is_given_up_while_the_next_job_is_waited_for():
    source = Idling("sleep", "a")
    ahead = ReadAhead(source)
    ends = run(ahead, work, processes=2, timeout=2.0, upstream=ahead)
    assert "--timeout" in next(ends).error
    source.go_on.set()
    assert [end.status for end in ends] == ["ok"]


def test_no_job_of_an_upstream_begins_far_ahead():
    ahead = ReadAhead(jobs("slow", *"abcdefgh"))
    numbers = [end.job.number for end in run(ahead, work, processes=2, ahead=3, upstream=ahead)]
    assert sorted(numbers) == list(range(9))
    assert numbers.index(0) <= 2


WAITING = r"""
from gatlas.batch import ReadAhead
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
