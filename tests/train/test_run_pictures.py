import json

import numpy as np
import pytest

from gatlas import io
from gatlas.train.run_pictures import MOST, log_panels, samples_strip, save_curves, save_strip

LOG = [
    {"step": 5, "loss": 2.0, "loss/rgb": 1.0, "lr": 0.1, "grad_norm": 3.0, "steps_per_second": 9.0},
    {"step": 10, "loss": 1.0, "loss/rgb": 0.5, "lr": 0.05, "grad_norm": 2.0, "diagnose/size": 4, "diagnose/none": None},
]


def test_panels_are_the_loss_the_rate_the_gradient_and_each_value_of_the_diagnosis():
    panels = {panel.title: panel.lines for panel in log_panels(LOG)}
    assert panels == {
        "loss": {"loss": ([5, 10], [2.0, 1.0]), "rgb": ([5, 10], [1.0, 0.5])},
        "learning rate": {"lr": ([5, 10], [0.1, 0.05])},
        "norm of the gradient": {"": ([5, 10], [3.0, 2.0])},
        "diagnosis: size": {"diagnose/size": ([10], [4])},
    }
    assert log_panels([]) == []


def test_curves_are_drawn_of_the_log_of_a_run(tmp_path):
    pytest.importorskip("matplotlib")
    save_curves(str(tmp_path))
    assert not (tmp_path / "curves.png").exists(), "there is no log"
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG) + '{"step": 15, "lo')
    save_curves(str(tmp_path))
    assert io.load_image(tmp_path / "curves.png").shape[2] == 3


def test_a_strip_shows_the_first_and_the_last_sample_and_some_between(tmp_path):
    (tmp_path / "samples").mkdir()
    for step in range(1, 21):
        io.save_image(tmp_path / f"samples/step-{step:06d}.png", np.full((10, 30, 3), step / 255, np.float32))
    save_strip(str(tmp_path))
    strip = np.round(io.load_image(tmp_path / "samples.png") * 255).astype(int)
    assert strip.shape[1] == MOST * 30
    levels = strip[-1, 15::30, 0]
    assert (levels[0], levels[-1]) == (1, 20)
    assert (np.diff(levels) > 0).all()


def test_pictures_of_a_strip_are_reduced_to_one_width_over_white():
    clear = np.zeros((100, 480, 4), np.float32)
    strip = samples_strip({1: clear, 2: np.zeros((50, 240, 3), np.float32)})
    assert strip.shape[1] == 480
    assert (strip[-1, :240] == 1).all()
    assert (strip[-1, 240:] == 0).all()
