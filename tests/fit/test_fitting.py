"""`gatlas.fit.fit`: what a Python user calls, with the options of the command line and no command line."""

from dataclasses import dataclass

import numpy as np
import pytest

from gatlas.config import option
from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, Interrupted, fit
from gatlas.fit.fitting import check_fit, loss_weights, run_identity
from gatlas.fit.losses import LossWeights
from gatlas.fit.options import PROFILES
from tests.helpers.meshes import textured_tetrahedron

TINY = FitOptions(count=40, iterations=12, views=4, resolution=32, held_out=2, device="cpu")


def test_a_mesh_and_the_views_of_it_are_fitted_with_the_options_of_the_command_line():
    steps = []
    fitted = fit(textured_tetrahedron(), TINY, on_step=lambda done, psnr: steps.append(done))
    assert len(fitted.gaussians) == 40
    assert steps == list(range(1, 13))
    again = fit(fitted.views, TINY)
    assert len(again.gaussians) == 40


def test_a_fit_that_is_stopped_and_resumed_equals_one_without_a_break():
    whole = fit(textured_tetrahedron(), TINY)
    done = []
    with pytest.raises(Interrupted) as stopped:
        fit(
            textured_tetrahedron(),
            TINY,
            on_step=lambda step, _: done.append(step),
            should_stop=lambda: len(done) == 5,
        )
    assert stopped.value.snapshot.step == 5
    resumed = fit(textured_tetrahedron(), TINY, resume=stopped.value.snapshot)
    np.testing.assert_array_equal(resumed.gaussians.means, whole.gaussians.means)


@pytest.mark.parametrize(
    ("options", "photos", "message"),
    [
        ({"init": "hull"}, False, "--init hull is for photos"),
        ({"model_dir": "sparse/1"}, False, "--model-dir names a COLMAP model of photos"),
        ({"init": "surface"}, True, "--init surface is for meshes"),
        ({"init": "even"}, True, "--init even is for meshes"),
        ({"init": "even", "lod": "5,10", "count": 10}, False, "--init even does not go with --lod"),
        ({"up": "z"}, True, "--up is for meshes and for --init FILE"),
        ({"up": "y", "init": "hull"}, True, "--up is for meshes and for --init FILE"),
        ({"init": "nowhere"}, True, "--init nowhere: photos start from"),
        ({"time_limit": 5.0}, False, "--time-limit needs --resume"),
        ({"model": "scaffold", "resume": "x.npz"}, False, "--model scaffold does not go with --resume"),
        ({"model": "scaffold", "max_offset": 0.01}, False, "--model scaffold does not go with --max-offset"),
        ({"profile": "instant", "sh_degree": 1}, False, "--profile instant does not go with --sh-degree"),
        ({"max_offset": 0.01}, True, "--max-offset bounds the distance from a mesh's surface"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, photos, message):
    with pytest.raises(GatlasError, match=message):
        check_fit(FitOptions(**options), photos=photos)


def test_given_values_override_the_profile():
    assert FitOptions(profile="quick").budget == PROFILES["quick"]
    assert FitOptions(profile="quick", views=7).budget == (200, 7, 256)
    assert loss_weights(FitOptions(model="scaffold", lambda_rgb=0.5)) == LossWeights(0.5, 0.2, 0.1, 0.01)


def test_a_new_option_is_part_of_what_a_run_must_keep_without_being_listed():
    @dataclass(frozen=True)
    class Extended(FitOptions):
        sharpen: float = option(0.0, min=0, help="A new option.")

    assert run_identity(Extended(), "digest", None) == run_identity(FitOptions(), "digest", None)
    assert run_identity(Extended(sharpen=0.5), "digest", None)["options"]["sharpen"] == 0.5


def test_what_a_run_must_keep_to_be_resumed_is_what_earlier_versions_stored():
    stored = run_identity(FitOptions(profile="quick"), "digest", None)
    assert stored["options"] == {
        "count": 16_384,
        "iterations": 200,
        "views": 48,
        "resolution": 256,
        "held_out": 20,
        "seed": 0,
        "supersample": 4,
        "shading": "auto",
    }
    assert stored["loss"] == {"rgb": 0.8, "ssim": 0.2, "lpips": 0.1, "scales": 0.0, "lpips_network": None}
