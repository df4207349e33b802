"""A Slurm cluster of one machine, from Debian's packages, for as long as a test needs it.

A requeued job starts again when the credentials of its first start have expired: 10 s here, not two minutes.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
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
    """Start munged, slurmctld and slurmd in a folder of their own; stop each by its pid."""

    def __init__(self, work):
        self.work = Path(work)
        self.environment = {**os.environ, "SLURM_CONF": str(self.work / "slurm.conf")}

    def __enter__(self):
        host = socket.gethostname().split(".")[0]
        node = subprocess.run([_program("slurmd"), "-C"], capture_output=True, text=True, check=True).stdout
        ports = _free_port(), _free_port()
        for name in ("state", "spool"):
            (self.work / name).mkdir()
        self._start_munge()
        (self.work / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, user="root", work=self.work, node=node.splitlines()[0], port=ports[0], other_port=ports[1]
            )
        )
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([_program(daemon), "-f", str(self.work / "slurm.conf")], check=True, env=self.environment)
        self.wait_until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"), 60, "the node to be idle")
        return self

    def _start_munge(self):
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
        subprocess.run([_program("munged"), "--force", *options], check=True, user="munge", cwd=self.work)

    def run(self, program, *words, cwd=None):
        """Standard output of one of Slurm's commands."""
        done = subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, env=self.environment, cwd=cwd, check=False
        )
        assert done.returncode == 0, f"{program} {words}: {done.stderr}"
        return done.stdout.strip()

    def signal(self, job):
        """USR1 to the shell of a job, as before its time limit."""
        # scancel hands the signal on and yet says "try again later", as Slurm 22.05 does for the batch shell of an
        # array's task: what the task does with it is the test.
        words = ["scancel", "--signal=USR1", "--batch", job]
        try:
            subprocess.run(words, capture_output=True, env=self.environment, timeout=2, check=False)
        except subprocess.TimeoutExpired:
            return

    def job(self, job):
        """What Slurm says of a job or an array's task, by name."""
        words = self.run("scontrol", "show", "job", "-o", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_until(self, ready, seconds, what):
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self):
        texts = []
        for name in ("slurmctld.log", "slurmd.log"):
            path = self.work / name
            if path.exists():
                texts.append(f"{name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:]))
        return "\n".join(texts)

    def __exit__(self, *_):
        subprocess.run(["scancel", "--user=root", "--full"], env=self.environment, check=False, capture_output=True)
        time.sleep(1)
        for path in ("slurmd.pid", "slurmctld.pid", "munge/munged.pid"):
            _stop(self.work / path)


def _stop(pid_file):
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        for _ in range(100):
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
