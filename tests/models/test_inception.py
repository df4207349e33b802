"""Inception's features against torch-fidelity's network with the same random weights."""

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.models.inception import Inception, resize_as_tensorflow
from gatlas.score.embedders import InceptionEmbedder
from tests.helpers.torchvision_stub import stub_torchvision

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights as both packages publish it: with the classifier's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Inception().state_dict()
    for name, tensor in state.items():
        if name.endswith("conv.weight"):  # of a size that keeps the signal through the layers
            state[name] = tensor * 2.2
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state, path)
    return path


def test_features_are_those_of_torch_fidelity(weights):
    with stub_torchvision():
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            pytest.skip(f"torch-fidelity is not installed: {error}")
    images = np.random.default_rng(0).integers(0, 256, size=(1, 40, 50, 3), dtype=np.uint8)
    twin = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
    (expected,) = twin(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = InceptionEmbedder(str(weights))(images / np.float32(255))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_pictures_are_enlarged_as_tensorflow_does_it():
    row = torch.tensor([[[[0.0, 3.0]]]])
    # Pixel i of 6 lies at i / 3 of the two; beyond the last there is nothing more.
    assert resize_as_tensorflow(row, 6)[0, 0, 0].tolist() == pytest.approx([0, 1, 2, 3, 3, 3])


def test_files_of_another_network_are_refused_by_name(tmp_path):
    with pytest.raises(GatlasError, match=r"91 MB.*torch-fidelity"):
        InceptionEmbedder(str(tmp_path / "absent.pth"))
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(GatlasError, match=r"other\.pth: lacks weights .*download it again"):
        InceptionEmbedder(str(tmp_path / "other.pth"))
