import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gatlas.cli.app import click_group
from gatlas.cli.manual_pages import EXAMPLES, pages
from gatlas.cli.manual_tables import system_sections
from gatlas.cli.verbs import VERBS
from gatlas.fit.losses import DIRECT_WEIGHTS, SCAFFOLD_WEIGHTS
from gatlas.fit.options import PROFILES
from gatlas.systems import SYSTEMS, system_module

MAN = Path(__file__).parents[2] / "man"
PAGES = pages(click_group())


def test_the_committed_pages_are_what_the_generator_writes():
    assert {path.stem: path.read_text() for path in MAN.glob("*.1")} == PAGES


def test_every_verb_has_a_page_with_an_example():
    verbs = [*VERBS, *(f"{verb.name}-{part.name}" for verb in VERBS.values() for part in verb.parts)]
    assert set(PAGES) == {"gatlas", *(f"gatlas-{verb}" for verb in verbs)}
    assert set(EXAMPLES) == {"gatlas", *verbs}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", sorted(PAGES))
def test_mandoc_finds_nothing_wrong(name):
    lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", MAN / f"{name}.1"], capture_output=True, check=False)
    assert lint.stdout.decode() == ""


def test_the_keys_of_set_are_those_of_the_classes():
    page = PAGES["gatlas-train"].replace("\\-", "-")
    assert ".B betas=0.9,0.999\nbetas of AdamW\n" in page
    assert ".B whitening_clip=5.0\nstandard deviations at which whitened atlases are clipped\n" in page
    assert ".B gap=45,90\n" in page


def test_the_page_of_train_has_every_system():
    page = PAGES["gatlas-train"].replace("\\-", "-")
    for name in SYSTEMS:
        module = system_module(name)
        assert f".SH PRESETS OF {name.upper()}\n--system {name} {module.TRAINING}\n" in page
        assert f".SH KEYS OF {name.upper()}\n" in page
        assert all(f".B {preset}\n" in page for preset in module.PRESETS)


def test_a_system_brings_its_own_sections(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "toy", "tests.helpers.toy_system")
    above, presets = system_sections()["PRESETS OF TOY"]
    assert above == "--system toy learns points, as many as the INPUT says."
    assert presets == {
        "small": "the default: 40 steps, batch size 8 per process, learning rate 0.01",
        "paper": "1000 steps, batch size 8 per process, learning rate 0.0001",
    }
    assert system_sections()["KEYS OF TOY"][1] == {"width=8": "", "scale=1.0": ""}


def test_the_page_of_fit_has_its_profiles_and_weights():
    page = PAGES["gatlas-fit"].replace("\\-", "-").replace(",", "")
    for name, options in PROFILES.items():
        assert re.search(rf"\b{name} (is )?{options.iterations} (steps )?on {options.views}\b", page)
    for name in ("rgb", "ssim", "lpips"):
        assert re.search(rf"fB--lambda-{name}.*\n.*default {getattr(DIRECT_WEIGHTS, name)}\b", page)
    assert f"default {DIRECT_WEIGHTS.scales:g} of scaffold {SCAFFOLD_WEIGHTS.scales}" in page


def test_what_must_be_given_stands_without_brackets():
    synopsis = PAGES["gatlas-sample"].partition(".SH SYNOPSIS\n")[2].splitlines()[1]
    assert synopsis == "[\\fIPHOTO...\\fR] \\fB\\-\\-model\\fR \\fIFOLDER|FILE\\fR [\\fIoptions\\fR]"
    assert "published file. Required." in PAGES["gatlas-sample"]
    assert "Required" not in PAGES["gatlas-fit"]


def test_ranges_and_defaults_are_on_the_page():
    assert "Camera elevation above the horizon. From \\-90 to 90. Default: 20.0." in PAGES["gatlas-render"]


@pytest.mark.parametrize("verb", ["fit", "prune", "atlas-encode", "atlas-decode", "render"])
def test_verbs_on_objects_say_how_many_are_named(verb):
    page = PAGES[f"gatlas-{verb}"]
    assert ".SH BATCHES" in page
    assert "a name with {stem} or {shard}" in page.partition(".SH OPTIONS")[2].partition(".SH BATCHES")[0]


def test_man_prints_the_page_of_a_verb(gatlas):
    assert b"exactly COUNT Gaussians" in gatlas("man", "fit").stdout


def test_man_names_the_verbs_it_knows(gatlas):
    assert "the verbs are atlas-decode, atlas-encode, convert, fit" in gatlas("man", "fly", code=1).stderr
