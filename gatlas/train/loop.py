"""One loop that trains every system: from a set of samples to checkpoints that a sampler opens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.runs import train_run as folder
from gatlas.io.runs.train_log import sample_path
from gatlas.train.options import TrainOptions, learning_rate
from gatlas.train.order import BatchOrder, batches
from gatlas.train.processes import Processes, to_device
from gatlas.train.record import Averages, Finite, Record
from gatlas.train.state import State

if TYPE_CHECKING:
    from torch import nn

    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet, System

CUDA_CHECKS = 50  # steps between two looks, which wait for the GPU, at whether all numbers are finite


class Outcome(NamedTuple):
    """How a training ended."""

    step: int  # steps done
    stopped: bool  # before the last one, because it was asked to
    loss: float | None  # mean of the last line of the log; None where no step was done


class Loop:
    """One training under way."""

    def __init__(
        self,
        system: System,
        scenes: SampleSet,
        options: TrainOptions,
        run: str,
        crew: Processes,
        meta: dict[str, Any],
        tell: Callable[[str], None],
        progress: Callable[[int, float], None] | None,
    ) -> None:
        self.system, self.scenes, self.options, self.run, self.crew = system, scenes, options, run, crew
        self.meta, self.tell, self.progress = meta, tell, progress
        self.network = system.network.to(crew.device).train()
        for weight in self.network.parameters():
            weight.data = weight.data.float()
        system.to(crew.device)
        if options.gradient_checkpointing:
            _checkpoint_gradients(self.network)
        self.state = State(self.network, options, system.lr_scale)
        self.parallel: nn.Module = crew.accelerator.prepare_model(self.network)
        self.generator = torch.Generator(crew.device)
        self.averages, self.finite = Averages(), Finite(crew.device)
        self.first_step = self.saved = 0  # the step that this process began after; the last one that is on disk
        self.loss = math.nan
        self.record: Record | None = None

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Take over a checkpoint's state."""
        self.state.load(folder.load_tensors(checkpoint), str(checkpoint.folder / folder.TENSORS))
        self.first_step = self.saved = checkpoint.step
        if checkpoint.step < self.options.steps:
            self.tell(f"going on after {checkpoint.step:,} steps")

    def go(self, stop: Callable[[], bool]) -> Outcome:
        """All steps that are left, or those until `stop`."""
        self.record = self.crew.on_first(lambda: Record(self.run, self.first_step))
        self._since, self._since_step = time.perf_counter(), self.first_step
        step = self.first_step
        try:
            reader = self._batches()
            while step < self.options.steps:
                micro, failure = self._read(reader)
                verdict = self.crew.agree(stop=stop(), failure=failure)
                if verdict.failure is not None:
                    self._finish(step)
                    raise GatlasError(f"{verdict.failure}; {self._last_checkpoint()}")
                if verdict.stop:
                    break
                step += 1
                self._step(step, micro)
                self._watch(step, micro)
            self._finish(step)
        finally:
            self.crew.accelerator.unwrap_model(self.parallel, keep_fp32_wrapper=False)
            if self.record is not None:
                self.record.close()
        return Outcome(step, step < self.options.steps, None if math.isnan(self.loss) else self.loss)

    def _batches(self) -> Iterator[Any]:
        cuda = self.crew.device.type == "cuda"
        workers = self.options.workers
        order = BatchOrder(
            len(self.scenes), self.options, rank=self.crew.rank, processes=self.crew.count, after=self.first_step
        )
        return iter(batches(self.scenes, order, workers=(4 if cuda else 0) if workers is None else workers, pin=cuda))

    def _read(self, reader: Iterator[Any]) -> tuple[list[Any], str | None]:
        """The batches of the next step, or what is wrong with a sample of theirs."""
        try:
            return [next(reader) for _ in range(self.options.accumulate)], None
        except GatlasError as error:
            return [], str(error)

    def _step(self, step: int, micro: list[Any]) -> None:
        """One step of the optimiser."""
        options, crew, state = self.options, self.crew, self.state
        total = torch.zeros((), device=crew.device)
        for number, batch in enumerate(micro):
            last = number == len(micro) - 1
            self.generator.manual_seed(_mixed(options.seed, step, crew.rank, number))
            with nullcontext() if last else crew.accelerator.no_sync(self.parallel):
                batch = to_device(batch, crew.device)
                terms = self.system.loss(self.parallel, batch, self.generator, step=step, steps=options.steps)
                crew.accelerator.backward(terms["loss"] / len(micro))
            total += terms["loss"].detach()
            self.averages.add({_term(name): value for name, value in terms.items()})
        norm = torch.nn.utils.clip_grad_norm_(state.parameters.values(), options.clip or math.inf)
        self.averages.add({"grad_norm": norm})
        self.finite.add(step, total, norm)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(options, step, group["scale"])
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(step)

    def _watch(self, step: int, micro: list[Any]) -> None:
        """Log, checkpoint and picture where they are due after a step; all processes learn what went wrong."""
        options = self.options
        diagnose, show, save, log = (
            bool(every) and step % every == 0
            for every in (options.diagnose_every, options.sample_every, options.checkpoint_every, options.log_every)
        )
        due = diagnose or show or save or log
        # A look waits for the GPU: there it is taken now and then only, and before anything is kept or shown.
        if due or self.crew.device.type == "cpu" or step % CUDA_CHECKS == 0:
            self._require_finite()
        if due:
            self._agreed(lambda: self._keep(step, micro[-1] if diagnose else None, save=save, show=show))
        if self.progress is not None and self.crew.first:
            self.progress(step, self.loss)

    def _finish(self, step: int) -> None:
        """Keep what the last step of this process has left."""
        if step > self.first_step:
            self._require_finite()
            every = self.options.sample_every
            show = bool(every) and step == self.options.steps and step % every != 0
            self._agreed(lambda: self._keep(step, None, save=True, show=show))

    def _keep(self, step: int, diagnosed: Any, *, save: bool, show: bool) -> None:
        self._log(step, diagnosed)
        if self.crew.first:
            if save and step != self.saved:
                self._save(step)
            if show:
                self._show(step)
        self._since, self._since_step = time.perf_counter(), step

    def _agreed(self, work: Callable[[], None]) -> None:
        """Work in all processes; a GatlasError in one of them is raised in all."""
        failure = None
        try:
            work()
        except GatlasError as error:
            failure = str(error)
        if (told := self.crew.agree(failure=failure).failure) is not None:
            raise GatlasError(told)

    def _require_finite(self) -> None:
        bad = self.finite.first_bad()
        failure = None
        if bad is not None:
            failure = (
                f"step {bad.step}: the {bad.name} is not finite; {self._last_checkpoint()}; "
                "a lower --lr or a longer warmup may help"
            )
        if (told := self.crew.agree(failure=failure).failure) is not None:
            raise GatlasError(told)

    def _last_checkpoint(self) -> str:
        steps = folder.list_steps(self.run)
        return f"the last checkpoint is that of step {steps[-1]}" if steps else "there is no checkpoint yet"

    def _log(self, step: int, batch: Any) -> None:
        """A line of the log; all processes take part in the means. Nothing where nothing was done since the last."""
        means = self.averages.take(self.crew)
        if not means:
            return
        self.loss = means["loss"]
        if self.record is None:
            return
        now = time.perf_counter()
        samples = step * self.options.batch * self.options.accumulate * self.crew.count
        entry = {
            "step": step,
            "epoch": round(samples / len(self.scenes), 4),
            "samples": samples,
            **means,
            "lr": learning_rate(self.options, step),
            "steps_per_second": (step - self._since_step) / (now - self._since),
        }
        if self.crew.device.type == "cuda":
            entry["memory_gib"] = torch.cuda.max_memory_allocated(self.crew.device) / 2**30
        if batch is not None:
            entry |= {f"diagnose/{name}": value for name, value in self._diagnose(step, batch).items()}
        self.record.add(entry)

    def _diagnose(self, step: int, batch: Any) -> dict[str, float]:
        self.generator.manual_seed(_mixed(self.options.seed, step, 0, self.options.accumulate))
        self.network.eval()
        try:
            with torch.no_grad():
                return self.system.diagnose(self.network, to_device(batch, self.crew.device), self.generator)
        finally:
            self.network.train()

    def _save(self, step: int) -> None:
        weights = self.state.averaged()
        folder.save_checkpoint(
            self.run,
            step,
            self.state.tensors(),
            self.meta,
            part=self.system.part,
            fill=lambda path: self.system.save_network(path, weights),
            keep=self.options.keep,
        )
        self.saved = step
        if self.record is not None:
            self.record.draw()

    def _show(self, step: int) -> None:
        """The picture of a few samples of the averaged weights, from the same noise every time."""
        self.generator.manual_seed(_mixed(self.options.seed, 0, 0, 0))
        self.network.eval()
        try:
            with torch.no_grad(), self.state.average.in_place():
                picture = self.system.preview(self.network, self.generator)
        finally:
            self.network.train()
        if picture is not None:
            io.save_image(sample_path(self.run, step), picture, force=True)


def _term(name: str) -> str:
    return name if name == "loss" else f"loss/{name}"


def _mixed(*numbers: int) -> int:
    """A seed of 63 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _checkpoint_gradients(network: nn.Module) -> None:
    for module in (network, getattr(network, "unet", None)):
        enable: Any = getattr(module, "enable_gradient_checkpointing", None)
        if enable is not None:
            enable()
            return
    raise GatlasError("gradient_checkpointing: this system's network does not have it")
