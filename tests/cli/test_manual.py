import shutil
import subprocess
from pathlib import Path

import pytest

from gatlas.cli import app
from gatlas.cli.manual import EXAMPLES, pages

MAN = Path(__file__).parents[2] / "man"


def test_the_committed_pages_are_what_the_generator_writes():
    assert {path.stem: path.read_text() for path in MAN.glob("*.1")} == pages()


def test_every_verb_has_a_page_with_an_example():
    verbs = [command.name for command in app.registered_commands]
    assert set(pages()) == {"gatlas", *(f"gatlas-{verb}" for verb in verbs)}
    assert set(EXAMPLES) == {"gatlas", *verbs}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", sorted(pages()))
def test_mandoc_finds_nothing_wrong(name):
    lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", MAN / f"{name}.1"], capture_output=True, check=False)
    assert lint.stdout.decode() == ""


def test_man_prints_the_page_of_a_verb(gatlas):
    assert b"exactly COUNT Gaussians" in gatlas("man", "fit").stdout


def test_man_names_the_verbs_it_knows(gatlas):
    assert "the verbs are atlas-decode, atlas-encode, fit" in gatlas("man", "fly", code=1).stderr
