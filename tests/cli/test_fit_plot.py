"""gatlas fit --plot: the course of a fit."""

import numpy as np
import pytest

from gatlas import io
from gatlas.fit.course import FitCourse
from gatlas.images.plots import COLORS

TINY = ["-n", 50, "--iterations", 6, "--views", 3, "--resolution", 24, "--lambda-lpips", 0]


def test_a_plot_changes_nothing_of_the_fit(gatlas, example, tmp_path):
    pytest.importorskip("matplotlib")
    gatlas("fit", example, *TINY, "-o", "a.ply")
    gatlas("fit", example, *TINY, "--plot", "a.png", "-o", "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    picture = np.round(io.load_image(tmp_path / "a.png") * 255).astype(int)
    line = [int(COLORS[0][i : i + 2], 16) for i in (1, 3, 5)]
    left, right = np.array_split((picture == line).all(axis=-1), 2, axis=1)
    assert left.any(), "PSNR"
    assert right.any(), "loss"


@pytest.mark.parametrize("model", ["direct", "scaffold"])
def test_the_course_holds_every_step(model):
    from gatlas.fit import FitOptions, fit
    from tests.helpers.meshes import textured_tetrahedron

    course, heard = FitCourse(), []
    options = FitOptions(count=40, iterations=4, views=3, resolution=24, lambda_lpips=0, model=model)
    fit(textured_tetrahedron(), options, **course.callbacks(lambda step, value: heard.append((step, value))))
    assert course.psnr[0] == course.loss[0] == [1, 2, 3, 4]
    assert heard == list(zip(*course.psnr, strict=True))
    assert all(0 < loss < 2 for loss in course.loss[1])


def test_a_plot_of_a_fit_without_steps_is_refused(gatlas, example):
    said = gatlas("fit", example, "--profile", "instant", "--plot", "a.png", "-o", "a.ply", code=1).stderr
    assert "--profile instant does not go with --plot" in said
