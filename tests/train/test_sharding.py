"""Networks whose weights are divided over processes: what one process can show of them."""

import torch

from gatlas.train.sharding import gather_on_first, part_of, skeleton_of, with_weights


class Tied(torch.nn.Module):
    """Two layers of one weight, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.norm(self.second(self.first(x)))


def test_a_skeleton_with_the_weights_is_the_network_also_where_layers_share_them():
    torch.manual_seed(0)
    network, x = Tied(), torch.randn(5, 3)
    skeleton = skeleton_of(network)
    assert {weight.device.type for weight in skeleton.parameters()} == {"meta"}
    network(x)  # moves the statistics of the batches
    weights = {name: 2 * weight.detach() for name, weight in network.named_parameters()}
    twin = with_weights(skeleton, weights).eval()
    assert twin.second.weight is not network.second.weight
    with torch.no_grad():
        for weight in network.parameters():
            weight *= 2
        assert torch.equal(twin(x), network.eval()(x))
    assert {weight.device.type for weight in skeleton.parameters()} == {"meta"}


def test_one_process_gathers_what_it_has():
    tensors = {"a": torch.arange(6.0).reshape(3, 2), "b": torch.tensor(2.0)}
    found = {}

    def work(fetch):
        for name, tensor in tensors.items():
            found[name] = torch.empty_like(tensor)
            fetch(name, found[name])

    gather_on_first({name: part_of(tensor) for name, tensor in tensors.items()}, work, None)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
