"""A Slurm cluster of one machine, from Debian's packages, for as long as a test needs it.

A requeued job starts again when the credentials of its first start have expired: 10 s here, not two minutes.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={other_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=30
MinJobAge=3600
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.log
{node} NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why there can be no cluster here; None where there can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"Slurm is not installed: no {', '.join(absent)} (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "slurmd must be started by root"
    return None


def _program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Cluster:
    """munged, slurmctld and slurmd in a folder of their own, from entering to leaving it."""

    def __init__(self, work):
        self.work = Path(work)
        self.environment = {**os.environ, "SLURM_CONF": str(self.work / "slurm.conf")}
        self._daemons = {}

    def __enter__(self):
        with ExitStack() as started:  # what fails on the way leaves no daemon behind
            for name in ("state", "spool"):
                (self.work / name).mkdir()
            self._start_munge(started)
            host = socket.gethostname().split(".")[0]
            node = subprocess.run([_program("slurmd"), "-C"], capture_output=True, text=True, check=True).stdout
            configuration = self.work / "slurm.conf"
            configuration.write_text(
                CONFIGURATION.format(
                    host=host, user="root", work=self.work, node=node.splitlines()[0],
                    port=free_port(), other_port=free_port(),
                )
            )  # fmt: skip
            for name in ("slurmctld", "slurmd"):
                self._start(started, name, "-D", "-f", configuration, env=self.environment)
            self.wait_until(self._is_idle, 120, "the node to be idle")
            started.callback(self._cancel_all)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_):
        self._started.close()

    def _start(self, started, name, *words, **options):
        """A daemon in the foreground: a child of this process that `started` ends."""
        daemon = subprocess.Popen(
            [_program(name), *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            **options,
        )  # fmt: skip
        started.callback(_stop, daemon)
        self._daemons[name] = daemon

    def _start_munge(self, started):
        """With a key, a socket and files of its own, so that a munged of the machine is left alone."""
        key = self.work / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        user = pwd.getpwnam("munge")
        (self.work / "munge").mkdir(mode=0o755)
        for path in (key, self.work / "munge", self.work):
            os.chown(path, user.pw_uid, user.pw_gid)
        files = {"key-file": key, "socket": self.work / "munge.socket", "pid-file": self.work / "munge/munged.pid"}
        files |= {"log-file": self.work / "munge/munged.log", "seed-file": self.work / "munge/munged.seed"}
        options = [f"--{name}={path}" for name, path in files.items()]
        self._start(started, "munged", "--foreground", "--force", *options, user="munge", cwd=self.work)
        self.wait_until((self.work / "munge.socket").exists, 60, "munged")

    def _is_idle(self):
        """Whether there is a node that takes jobs; the controller may not answer yet."""
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, env=self.environment)
        return "idle" in asked.stdout

    def _cancel_all(self):
        """End what still runs, so that no process outlives its daemon."""
        subprocess.run(["scancel", "--user=root", "--full"], env=self.environment, check=False, capture_output=True)
        self.wait_until(lambda: not self.run("squeue", "--noheader"), 60, "the jobs to end")

    def run(self, program, *words, cwd=None):
        """Standard output of one of Slurm's commands."""
        done = subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, env=self.environment, cwd=cwd, check=False
        )
        assert done.returncode == 0, f"{program} {words}: {done.stderr}"
        return done.stdout.strip()

    def signal(self, job, heard):
        """USR1 to the shell of a job, as before its time limit, until the job has `heard`."""
        # scancel hands the signal on and yet tries again, as Slurm 22.05 does for the batch shell of an array's task.
        words = ["scancel", "--signal=USR1", "--batch", job]
        with subprocess.Popen(words, env=self.environment, stderr=subprocess.DEVNULL) as asking:
            try:
                self.wait_until(heard, 120, "the signal to be heard")
            finally:
                asking.kill()

    def job(self, job):
        """What Slurm says of a job or an array's task, by name."""
        words = self.run("scontrol", "show", "job", "-o", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_until(self, ready, seconds, what):
        deadline = time.monotonic() + seconds
        while not ready():
            for name, daemon in self._daemons.items():
                assert daemon.poll() is None, f"{name} has ended with {daemon.returncode}\n{self.logs()}"
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self):
        texts = []
        for name in ("slurmctld.log", "slurmd.log"):
            path = self.work / name
            if path.exists():
                texts.append(f"{name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:]))
        return "\n".join(texts)


def _stop(daemon):
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
