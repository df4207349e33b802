"""The Adam of a fit against torch's."""

import subprocess
import sys

import torch

from gatlas.fit.adam import Adam

BETAS, EPS = (0.8, 0.99), 1e-15


def test_its_steps_are_those_of_torch_to_the_bit():
    def run(make):
        generator = torch.Generator().manual_seed(0)
        parameters = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((7, 3), (5,), (2,))]
        adam = make([{"params": [parameter], "lr": 0.0} for parameter in parameters])
        for step in range(5):
            for group in adam.param_groups:
                group["lr"] = 0.1 / (1 + step)
            adam.zero_grad()
            loss = (parameters[0] ** 2).sum() + (parameters[1] - 0.3).abs().sum()
            if step > 2:  # a parameter that joins later counts its own steps
                loss = loss + parameters[2].square().sum()
            loss.backward()
            adam.step()
        return parameters, [adam.state[parameter] for parameter in parameters]

    ours = run(lambda groups: Adam(groups, BETAS, EPS))
    torchs = run(lambda groups: torch.optim.Adam(groups, betas=BETAS, eps=EPS, fused=True))
    for mine, theirs in zip(ours[0], torchs[0], strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(ours[1], torchs[1], strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_optimization_does_not_load_the_compiler_of_torch():
    code = """
import sys
import numpy as np
from gatlas.fit.optimize import LateError, optimize
from gatlas.geometry.cameras import fibonacci_views
from gatlas.types import Gaussians, Views
two = np.ones((2, 3), np.float32)
gaussians = Gaussians(0 * two, np.eye(2, 4, dtype=np.float32) + 1, 0.1 * two, two[:, 0] / 2, two[:, None] / 9)
views = Views(np.ones((2, 16, 16, 4), np.float32), fibonacci_views(2, 16, 16))
optimize(gaussians, views, 3, np.random.default_rng(0), late=LateError('squared', 0.5))
print("torch._dynamo" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"], run.stderr
