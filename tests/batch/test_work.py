"""What a batch takes from an options class: its fingerprint, and the outputs of an object."""

from pathlib import Path

import pytest

from gatlas.atlas.options import DecodeOptions, EncodeOptions
from gatlas.batch.options import Batchable
from gatlas.batch.work import BatchWork, fingerprint_of
from gatlas.fit.options import FitOptions
from gatlas.prune.options import PruneOptions
from gatlas.render.options import RenderOptions


def work_of(name, options):
    return BatchWork(name, print, options, Batchable(".ply", (".ply",)))


CHOSEN_FIT = FitOptions(
    count=64,
    profile="quick",
    lambda_lpips=0.0,
    init="hull",
    resume="{stem}.npz",
    time_limit=5.0,
    views_out="{stem}",
    preview="{stem}.png",
)
CHOSEN_PRUNE = PruneOptions(count=10, score="opacity", reference="m.glb", device="cpu", report="{stem}.json")


@pytest.mark.parametrize(
    ("name", "options", "recorded"),
    [
        ("prune", PruneOptions(), "ffd2628191cf22dd"),
        ("prune", CHOSEN_PRUNE, "14f2849a9ebe5986"),
        ("atlas_encode", EncodeOptions(), "c944f35e77b3f0d9"),
        (
            "atlas_encode",
            EncodeOptions(size=16, fill="split", layout="gaussianverse", check=True, threads=2),
            "22de7c30c0201b3d",
        ),
        ("atlas_decode", DecodeOptions(), "4c7e5a0539cdf3e5"),
        ("fit", FitOptions(), "50517eb6c83978ec"),
        ("fit", CHOSEN_FIT, "bbdfa954abcf863c"),
        ("render", RenderOptions(), "b266b962118bb656"),
    ],
)
def test_manifests_of_earlier_versions_match_equal_options(name, options, recorded):
    """The values are those that gatlas 0.1.0 wrote before its options were classes."""
    assert work_of(name, options).fingerprint == recorded


@pytest.mark.parametrize(
    ("name", "default", "chosen"),
    [
        ("render", RenderOptions(), RenderOptions(up="y")),  # of a mesh the same, of a splat not
        ("prune", PruneOptions(), PruneOptions(up="z")),
    ],
)
def test_options_that_were_added_count_where_they_are_chosen(name, default, chosen):
    assert work_of(name, default).fingerprint != work_of(name, chosen).fingerprint


@pytest.mark.parametrize("options", [RenderOptions, PruneOptions, EncodeOptions, FitOptions])
def test_the_objects_that_failed_are_made_with_drop_invalid_and_the_others_kept(options):
    name = options.__name__
    assert work_of(name, options(drop_invalid=True)).fingerprint == work_of(name, options()).fingerprint


def test_equal_options_have_equal_fingerprints_whatever_their_order():
    assert fingerprint_of("fit", {"a": 1, "b": 2}) == fingerprint_of("fit", {"b": 2, "a": 1})
    assert fingerprint_of("fit", {"a": 1}) != fingerprint_of("fit", {"a": 2})
    assert fingerprint_of("fit", {"a": 1}) != fingerprint_of("prune", {"a": 1})


def test_outputs_are_named_after_the_object_and_sidecars_are_those_that_come_with_the_result():
    work = work_of("fit", CHOSEN_FIT)
    assert work.outputs("a/b") == {
        "views_out": Path("a/b"),
        "preview": Path("a/b.png"),
        "resume": Path("a/b.npz"),
    }
    assert work.sidecars("a/b") == {"views_out": Path("a/b")}
    assert work_of("prune", PruneOptions()).outputs("a") == {}
