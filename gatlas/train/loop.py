"""One loop that trains every system: from a set of samples to checkpoints that a sampler opens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas import io
from gatlas.errors import DeviceMemoryError, GatlasError, first_sentence
from gatlas.io.runs import train_run
from gatlas.io.runs.train_log import sample_path
from gatlas.train.log import Averages, FiniteCheck, TrainLog
from gatlas.train.options import TrainOptions, betas, learning_rate
from gatlas.train.order import BatchOrder, batches
from gatlas.train.process_group import ProcessGroup, to_device
from gatlas.train.run_pictures import save_strip
from gatlas.train.sharding import skeleton_of, whole_scalar, with_weights
from gatlas.train.state import TrainState

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gatlas.config import Report
    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet, System
    from gatlas.train.sharding import Fetch

COMPILERS = ("torch._dynamo", "torch._inductor")  # modules of the errors of torch.compile
CUDA_CHECKS = 50  # steps between two checks that all numbers are finite, each of which synchronizes with the GPU


class Outcome(NamedTuple):
    """The end of a training."""

    step: int  # steps done
    stopped: bool  # before the last one, because it was asked to
    loss: float | None  # mean of the last line of the log; None where no step was done


class Loop:
    """A training in progress."""

    def __init__(
        self,
        system: System,
        samples: SampleSet,
        options: TrainOptions,
        folder: str,
        group: ProcessGroup,
        meta: dict[str, Any],
        report: Report,
        on_step: Callable[[int, float], None] | None,
        *,
        fsdp: bool,
        ema_host: bool,
        eight_bit: bool,
        compiled: bool,
    ) -> None:
        self.system, self.samples, self.options, self.folder, self.group = system, samples, options, folder, group
        self.meta, self.report, self.on_step = meta, report, on_step
        for line in system.begin_training():
            report(line)
        self.network = system.network.to(group.device).train()
        for weight in self.network.parameters():
            weight.data = weight.data.float()
        system.to(group.device)
        if options.gradient_checkpointing:
            system.checkpoint_gradients()
        self.skeleton = skeleton_of(self.network) if fsdp else None
        self.compiled = compiled
        if compiled:
            self.network.compile()  # the names of the weights stay the same
        self.parallel = group.parallel(self.network, fsdp=fsdp)
        self.state = TrainState(self.network, options, system.lr_scale, ema_host=ema_host, eight_bit=eight_bit)
        self.generator = torch.Generator(group.device)
        self.averages, self.finite = Averages(), FiniteCheck(group.device)
        self.first_step = self.saved = 0  # the step that this process began after; the last one that is on disk
        self.loss = math.nan
        self.log: TrainLog | None = None

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint."""
        self.state.load(train_run.load_tensors(checkpoint), str(checkpoint.folder / train_run.TENSORS))
        self.first_step = self.saved = checkpoint.step
        if checkpoint.step < self.options.steps:
            self.report(f"resuming after {checkpoint.step:,} steps")

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        """Do all steps that are left, or those until `should_stop`, and return how the training ended."""
        self.log = self.group.on_first(lambda: TrainLog(self.folder, self.first_step))
        self._since, self._since_step = time.perf_counter(), self.first_step
        step = self.first_step
        try:
            with closing(self._batches()) as reader:
                while step < self.options.steps:
                    micro, failure = self._read(reader)
                    status = self.group.sync(stop=should_stop(), failure=failure)
                    if status.failure is not None:
                        self._finish(step)
                        raise GatlasError(f"{status.failure}; {self._last_checkpoint()}")
                    if status.stop:
                        break
                    step += 1
                    self.take_step(step, micro)
                    self._after_step(step, micro)
            self._finish(step)
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(self._memory_advice(step, error)) from None
        except RuntimeError as error:
            if not (self.compiled and type(error).__module__.startswith(COMPILERS)):
                raise
            raise GatlasError(
                f"--compile: torch could not compile the network ({first_sentence(error)}): it needs a C++ compiler on "
                "the CPU and Triton on CUDA; or leave --compile out"
            ) from None
        finally:
            self.group.accelerator.unwrap_model(self.parallel, keep_fp32_wrapper=False)
            if self.log is not None:
                self.log.close()
        return Outcome(step, step < self.options.steps, None if math.isnan(self.loss) else self.loss)

    def _batches(self) -> Generator[Any, None, None]:
        cuda = self.group.device.type == "cuda"
        workers = self.options.workers
        order = BatchOrder(
            len(self.samples), self.options, rank=self.group.rank, processes=self.group.count, after=self.first_step
        )
        return batches(self.samples, order, workers=(4 if cuda else 0) if workers is None else workers, pin=cuda)

    def _read(self, reader: Iterator[Any]) -> tuple[list[Any], str | None]:
        """Return the batches of the next step, or what is wrong with one of their samples."""
        try:
            return [next(reader) for _ in range(self.options.accumulate)], None
        except GatlasError as error:
            return [], str(error)

    def take_step(self, step: int, micro: list[Any]) -> None:
        """Do one step of the optimizer."""
        options, group, state = self.options, self.group, self.state
        total = torch.zeros((), device=group.device)
        for number, batch in enumerate(micro):
            last = number == len(micro) - 1
            self.generator.manual_seed(_mixed(options.seed, step, group.rank, number))
            with nullcontext() if last else group.accelerator.no_sync(self.parallel):
                batch = to_device(batch, group.device)
                terms = self.system.loss(self.parallel, batch, self.generator, step=step, steps=options.steps)
                group.accelerator.backward(terms["loss"] / len(micro))
            total += terms["loss"].detach()
            self.averages.add({_term(name): value for name, value in terms.items()})
        norm = whole_scalar(torch.nn.utils.clip_grad_norm_(state.parameters.values(), options.clip or math.inf))
        self.averages.add({"grad_norm": norm})
        self.finite.add(step, total, norm)
        for weights in state.optimizer.param_groups:
            weights["lr"], weights["betas"] = learning_rate(options, step, weights["scale"]), betas(options, step)
        state.average.wait()
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(step)

    def _after_step(self, step: int, micro: list[Any]) -> None:
        """Write the log, a checkpoint and a picture where they are due; what fails in one process ends all."""
        options = self.options
        diagnose, show, save, log = (
            bool(every) and step % every == 0
            for every in (options.diagnose_every, options.sample_every, options.checkpoint_every, options.log_every)
        )
        due = diagnose or show or save or log
        # The check synchronizes with the GPU: there it is done now and then only, and before anything is written.
        if due or self.group.device.type == "cpu" or step % CUDA_CHECKS == 0:
            self._require_finite()
        if due:
            self._in_all(lambda: self._write(step, micro[-1] if diagnose else None, save=save, show=show))
        if self.on_step is not None and self.group.is_first:
            self.on_step(step, self.loss)

    def _finish(self, step: int) -> None:
        """Save what was done since the last checkpoint."""
        if step > self.first_step:
            self._require_finite()
            every = self.options.sample_every
            show = bool(every) and step == self.options.steps and step % every != 0
            self._in_all(lambda: self._write(step, None, save=True, show=show))

    def _write(self, step: int, diagnosed: Any, *, save: bool, show: bool) -> None:
        means = self.averages.take(self.group)

        def write(fetch: Fetch) -> None:
            self._write_line(step, means, diagnosed, fetch)
            if show:  # before the checkpoint: a process that is killed between them makes it again
                self._show(step, fetch)
            if save and step != self.saved:
                self._save(step, fetch)

        self.loss = means.get("loss", self.loss)
        self.group.gather_on_first(self.state.parts() if self.skeleton is not None else {}, write)
        self._since, self._since_step = time.perf_counter(), step

    def _in_all(self, work: Callable[[], None]) -> None:
        """Do work in all processes; a GatlasError in one of them is raised in all."""
        failure = None
        try:
            work()
        except GatlasError as error:
            failure = str(error)
        if (failure := self.group.sync(failure=failure).failure) is not None:
            raise GatlasError(failure)

    def _require_finite(self) -> None:
        bad = self.finite.first()
        failure = None
        if bad is not None:
            failure = (
                f"step {bad.step}: the {bad.name} is not finite; {self._last_checkpoint()}; "
                "a lower --lr or a longer warmup may help"
            )
        if (failure := self.group.sync(failure=failure).failure) is not None:
            raise GatlasError(failure)

    def _memory_advice(self, step: int, error: Exception) -> str:
        """Return what happened and which options need less memory, in one line."""
        options = self.options
        advice = [f"a smaller --batch than {options.batch} with a larger --accumulate than {options.accumulate}"]
        if not options.gradient_checkpointing:
            advice.append("--set gradient_checkpointing=true")
        what = f"{first_sentence(error)}; {self._last_checkpoint()}"
        return f"step {step}: {what}. What needs less memory: {', '.join(advice)}"

    def _last_checkpoint(self) -> str:
        steps = train_run.list_steps(self.folder)
        return f"the last checkpoint is that of step {steps[-1]}" if steps else "there is no checkpoint yet"

    def _write_line(self, step: int, means: Mapping[str, float], batch: Any, fetch: Fetch) -> None:
        """Write a line of the log, if there were steps since the last; the means are over all processes."""
        if not means or self.log is None:
            return
        now = time.perf_counter()
        seen = step * self.options.batch * self.options.accumulate * self.group.count
        entry = {
            "step": step,
            "epoch": round(seen / len(self.samples), 4),
            "samples": seen,
            **means,
            "lr": learning_rate(self.options, step),
            "steps_per_second": (step - self._since_step) / (now - self._since),
        }
        if self.group.device.type == "cuda":
            entry["memory_gib"] = torch.cuda.max_memory_allocated(self.group.device) / 2**30
        if batch is not None:
            entry |= {f"diagnose/{name}": value for name, value in self._diagnose(step, batch, fetch).items()}
        self.log.add(entry)

    def _diagnose(self, step: int, batch: Any, fetch: Fetch) -> dict[str, float]:
        self.generator.manual_seed(_mixed(self.options.seed, step, 0, self.options.accumulate))
        with self._whole_network(fetch, averaged=False) as network:
            return self.system.diagnose(network, to_device(batch, self.group.device), self.generator)

    def _save(self, step: int, fetch: Fetch) -> None:
        removed = train_run.make_room(self.folder, step, self.options.keep, self.state.checkpoint_size())
        if removed:
            self.report(
                f"{self.folder}: the disk is short: the oldest checkpoint, of step {removed[0]:,}, had to go first"
            )
        if self.log is not None:
            self.log.plot()
        tensors = self.state.tensors()

        def fill(path: str, stored: Mapping[str, Tensor]) -> None:
            self.system.save_network(path, self.state.averaged(tensors if self.skeleton is None else stored))

        train_run.save_checkpoint(
            self.folder,
            step,
            tensors,
            self.meta,
            part=self.system.part,
            fill=fill,
            keep=self.options.keep,
            fetch=None if self.skeleton is None else fetch,
        )
        self.saved = step

    def _show(self, step: int, fetch: Fetch) -> None:
        """Write a picture of a few samples of the averaged weights, from the same noise every time."""
        self.generator.manual_seed(_mixed(self.options.seed, 0, 0, 0))
        with self._whole_network(fetch, averaged=True) as network:
            picture = self.system.preview(network, self.generator)
        if picture is not None:
            io.save_image(sample_path(self.folder, step), picture, force=True)
            save_strip(self.folder)

    @contextmanager
    def _whole_network(self, fetch: Fetch, *, averaged: bool) -> Iterator[nn.Module]:
        """Give the network for evaluation: itself, or a copy with the weights that are divided over the processes."""
        if self.skeleton is not None:
            network = with_weights(self.skeleton, self.state.gathered(fetch, averaged=averaged)).eval()
            with torch.no_grad(), self.group.accelerator.autocast():
                yield network
            return
        self.network.eval()
        try:
            with torch.no_grad(), self.state.average.in_place() if averaged else nullcontext():
                yield self.network
        finally:
            self.network.train()


def _term(name: str) -> str:
    return name if name == "loss" else f"loss/{name}"


def _mixed(*numbers: int) -> int:
    """Return a seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
