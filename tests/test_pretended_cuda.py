"""The pretended CUDA device refuses what CUDA refuses, allows what it allows, and computes what the CPU computes."""

import numpy as np
import pytest
import torch

from tests.helpers.pretended_cuda import pretended_cuda


@pytest.fixture(autouse=True)
def device():
    with pretended_cuda():
        yield


def there(*shape):
    return torch.ones(shape, device="cuda")


@pytest.mark.parametrize(
    "operation",
    [
        lambda: there(3) + torch.ones(3),
        lambda: torch.ones(3) * there(3),
        lambda: there(3).add_(torch.ones(3)),
        lambda: torch.ones(3).add_(there(3)),
        lambda: torch.ones(3) * there(3)[0],
        lambda: torch.stack([there(3), torch.ones(3)]),
        lambda: torch.stack([there(), torch.ones(())]),
        lambda: there(2, 3) @ torch.ones(3, 2),
        lambda: torch.ones(3)[there(2).long()],
        lambda: there(3).__setitem__(torch.tensor([0, 1]), torch.ones(2)),
        lambda: there(3).index_add_(0, torch.tensor([0]), there(1)),
        lambda: there(3).clamp(torch.zeros(()), torch.ones(())),
        lambda: torch.nn.Linear(3, 3)(there(3)),
        lambda: torch.nn.Linear(3, 3).to("cuda")(torch.ones(3)),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        lambda: torch.randn(3, generator=torch.Generator("cuda")),
    ],
)
def test_mixed_devices_are_refused(operation):
    with pytest.raises(RuntimeError, match=r"same device|device type"):
        operation()


def test_values_do_not_leave_without_being_copied():
    for leave in (lambda: there(3).numpy(), lambda: np.asarray(there(3))):
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\)"):
            leave()
    np.testing.assert_array_equal(there(3).cpu().numpy(), np.ones(3))
    assert there(3).tolist() == [1.0] * 3
    assert float(there()) == 1.0


def test_what_cuda_allows_is_allowed():
    moved = there(3)
    moved[1:] = torch.full((2,), 5.0)
    moved[torch.tensor([0])] = 2.0
    moved.copy_(moved.cpu() + torch.ones(3))
    assert (moved * torch.tensor(2.0))[torch.tensor([0, 1])].tolist() == [6.0, 12.0]
    assert there(2).sum().to("cpu").device.type == "cpu"
    assert torch.randn(2, device="cuda", generator=torch.Generator("cuda").manual_seed(1)).is_cuda


def test_training_there_is_training_on_the_cpu():
    trained = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))
        for weight in network.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)
        network.to(device)
        assert {weight.device.type for weight in network.parameters()} == {device}
        adam = torch.optim.AdamW(network.parameters(), fused=True)
        for _ in range(3):
            x = torch.randn(5, 4, generator=generator).to(device, non_blocking=True)
            network(x).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            adam.step()
            adam.zero_grad()
        trained.append([weight.detach().cpu() for weight in network.parameters()])
    for one, other in zip(*trained, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_cross_between_the_devices():
    leaf = torch.ones(3, requires_grad=True)
    (leaf.to("cuda") * there(3)).cpu().sum().backward()
    assert leaf.grad.tolist() == [1.0] * 3
