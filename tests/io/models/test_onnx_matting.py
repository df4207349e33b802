"""Networks of background removal: tiny ones of a kind with rembg's, made here."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io.models.onnx_matting import MattingModel

onnx = pytest.importorskip("onnx", reason="makes the networks of these tests")
pytest.importorskip("onnxruntime")
SIDE = 16


def network(path, nodes, side=SIDE, constants=(), shape=(1, 1)):
    """Write a network of a picture x [1 3 side side] to y [1 1 side side]."""
    from onnx import TensorProto, helper

    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])
    opacity = helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape, side, side])
    graph = helper.make_graph(nodes, "matting", [picture], [opacity], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def mean_network(path, side=SIDE, then=()):
    """The mean of the channels, and then the named functions."""
    from onnx import helper

    names = ["x", *(f"t{i}" for i in range(len(then))), "y"]
    nodes = [helper.make_node("ReduceMean", ["x"], [names[1]], axes=[1], keepdims=1)]
    nodes += [helper.make_node(name, [names[i + 1]], [names[i + 2]]) for i, name in enumerate(then)]
    return network(path, nodes, side)


def half_white(height=24, width=40):
    picture = np.zeros((height, width, 3), np.float32)
    picture[:, width // 2 :] = 1
    return picture


def test_the_opacity_has_the_size_of_the_picture_and_the_range_of_a_mask(tmp_path):
    model = MattingModel(mean_network(tmp_path / "u2net.onnx"))
    mask = model.mask(half_white())
    assert mask.shape == (24, 40)
    assert mask[:, :16].max() < 0.01
    assert mask[:, 24:].min() > 0.99


def test_pictures_are_normalized_as_rembg_normalizes_them_for_u2net(tmp_path):
    """A picture of two colors whose normalized means are equal shows no object; without the divisors it would."""
    from onnx import helper

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    model = MattingModel(network(tmp_path / "sum.onnx", nodes, constants=[axes]))
    picture = np.zeros((SIDE, SIDE, 3), np.float32)
    picture[:, :8, 0], picture[:, 8:, 1], picture[0, 0] = 0.5, 0.5 * deviation[1] / deviation[0], 1
    values = ((picture - mean) / deviation).sum(axis=-1)
    assert abs(values[1, 0] - values[1, -1]) < 1e-6
    mask = model.mask(picture)
    assert mask[0, 0] == pytest.approx(1)
    assert mask[1:].max() < 1e-4


def test_logits_of_a_large_network_become_opacity(tmp_path):
    """Beyond 512 pixels a side: what leaves [0, 1] is the logit of it, as BiRefNet's."""
    model = MattingModel(mean_network(tmp_path / "birefnet.onnx", side=520))
    mask = model.mask(half_white(520, 520))
    assert mask[:, 100].max() == pytest.approx(0, abs=1e-3)
    assert mask[:, 400].min() == pytest.approx(1, abs=1e-3)


def test_a_picture_without_an_object_gives_an_empty_mask(tmp_path):
    model = MattingModel(mean_network(tmp_path / "u2net.onnx", then=["Neg", "Relu"]))
    assert model.mask(np.ones((8, 8, 3), np.float32)).max() == 0


@pytest.mark.parametrize("content", [b"no network", b"", b"\x08\x08" + bytes(40)])
def test_a_file_that_is_no_network_is_one_line(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(GatlasError) as caught:
        MattingModel(tmp_path / "bad.onnx")
    assert str(caught.value).startswith(str(tmp_path / "bad.onnx"))
    assert "\n" not in str(caught.value)


def test_a_network_of_something_else_is_refused(tmp_path):
    from onnx import TensorProto, helper

    words = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 7])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 7])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "words", [words], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "words.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GatlasError, match=r"must take a picture \[1 3 h w\]"):
        MattingModel(tmp_path / "words.onnx")


def test_a_network_that_gives_no_opacity_is_refused(tmp_path):
    from onnx import helper

    model = MattingModel(network(tmp_path / "three.onnx", [helper.make_node("Neg", ["x"], ["y"])], shape=(1, 3)))
    with pytest.raises(GatlasError, match="not the opacity of one picture"):
        model.mask(half_white())
