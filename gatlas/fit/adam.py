"""Adam (Kingma and Ba 2015) of the parameters of a fit: torch's own fused step."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adam import adam as adam_step

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam remembers of a parameter


class Adam:
    """`torch.optim.Adam(groups, fused=True)`, of which it has the attributes that are used here.

    That class loads torch's compiler when it is made, which costs a second of CPU and has no use here.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float) -> None:
        self.param_groups = groups  # "params", and the learning rate "lr" from the first step on
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        self._betas, self._eps = betas, eps

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients; a parameter that has none stays."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state_of(parameter) for parameter in parameters]
            adam_step(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                max_exp_avg_sqs=[],
                state_steps=[state["step"] for state in states],
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=group["lr"],
                beta1=self._betas[0],
                beta2=self._betas[1],
                eps=self._eps,
                weight_decay=0.0,
            )

    def _state_of(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        if parameter not in self.state:
            moments = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
            self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
        return self.state[parameter]
