"""Peak host memory of writing and reading a checkpoint, above the state of the training.

    python tests/benchmarks/bench_checkpoint.py [--gb 1.5] [--layers 6] [--work DIR]

The network is made up: linear layers, with averages and the moments of AdamW, all on the CPU. "device" stands for a
state whose tensors have to be copied to the host first, as those of a GPU. "library" writes and reads the same file
with safetensors' own functions. Memory is the high-water mark of a process of its own, which counts what it has mapped.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gatlas.io.models.tensors import write_tensors
from gatlas.io.runs import train_run
from gatlas.train import TrainOptions
from gatlas.train.state import TrainState

WORKS = ("write", "library write", "device write", "device library write", "read", "library read")


def state_of(gb, layers, *, moments):
    """A state of `gb` GB in as many layers, with the moments that training adds or without them."""
    width = int((gb * 1e9 / 16 / layers) ** 0.5)
    network = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False) for _ in range(layers)))
    state = TrainState(network, TrainOptions())
    for weight in network.parameters() if moments else ():
        values = state.optimizer.state[weight]
        values["step"] = torch.tensor(1.0)
        values["exp_avg"], values["exp_avg_sq"] = torch.ones_like(weight), torch.ones_like(weight)
    return state


def work(name, state, folder):
    """Write or read the state."""
    tensors = state.tensors() if name.endswith("write") else {}
    file = folder / "library.safetensors"
    if name == "write":
        train_run.save_checkpoint(folder, 1, tensors, {}, part="part", fill=lambda path, stored: None, keep=3)
    elif name == "device write":
        write_tensors(folder / "device.safetensors", tensors, fetch=lambda each, into: into.copy_(tensors[each]))
    elif name == "library write":
        save_file(tensors, file)
    elif name == "device library write":
        save_file({each: tensor.clone() for each, tensor in tensors.items()}, file)
    elif name == "read":
        state.load(train_run.load_tensors(train_run.find_checkpoint(folder, "latest")), "checkpoint")
    else:
        state.load(load_file(file), "checkpoint")


def peak():
    """Peak memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(name, gb, layers, folder):
    """Print the bytes of the state, those of the largest tensor, and the peak above the state."""
    torch.set_num_threads(1)
    state = state_of(gb, layers, moments=name.endswith("write"))
    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1]) * resource.getpagesize()
    work(name, state, folder)
    above = peak() - before
    if name.endswith("read"):  # which makes the moments
        above -= sum(tensor.nbytes for each, tensor in state.tensors().items() if each.startswith("adam."))
    sizes = [tensor.nbytes for tensor in state.tensors().values()]
    print(sum(sizes), max(sizes), above)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.5, help="size of the state, GB")
    parser.add_argument("--layers", type=int, default=6, help="number of its layers")
    parser.add_argument("--work", type=Path, help="folder to write into; a temporary one by default")
    parser.add_argument("--child", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.gb, options.layers, options.work)
        return
    print("| | state, MB | largest tensor, MB | peak above the state, MB | in largest tensors |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for name in WORKS:
            words = ["--gb", options.gb, "--layers", options.layers, "--work", folder, "--child", name]
            printed = subprocess.check_output([sys.executable, __file__, *map(str, words)], text=True)
            state, largest, above = (int(each) / 1e6 for each in printed.split())
            print(f"| {name} | {state:.0f} | {largest:.1f} | {above:.1f} | {above / largest:.2f} |")


if __name__ == "__main__":
    main()
