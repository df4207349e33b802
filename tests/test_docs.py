"""The commands, links, paths and examples of the README and of docs/ are right."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest
import typer

from gatlas.cli.app import click_group
from gatlas.io import registry
from tests.helpers.doc_pages import PAGES, ROOT, anchors, blocks, commands, gatlas_words, indented_blocks, links, tree
from tests.test_architecture import FLOORS

OTHER_PROGRAMS = {
    "set",
    "find",
    "python3",
    ".",
    "pip",
    "pytest",
    "ruff",
    "mypy",
    "sbatch",
    "tar",
    "torchrun",
    "uv",
    "uvx",
    "pipx",
}
IN_TREE = re.compile(r"`((?:gatlas|tests|examples|docs|man|\.ci)/[\w./-]*)`")


def named(page):
    return str(page.relative_to(ROOT))


def parse(words):
    """Parse a command line up to its options and run nothing; what is wrong is a click.UsageError."""
    group = click_group()
    with group.make_context("gatlas", words[:1] or ["--help"], resilient_parsing=True) as context:
        verb, command, _ = group.resolve_command(context, words[:1])
        if hasattr(command, "commands"):  # a verb of several measures
            words = words[1:]
            verb, command, _ = command.resolve_command(context, words[:1])
        command.make_context(verb, list(words[1:]), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_parses(page):
    scripts = [(block.place, block.text) for block in blocks(page, "sh")]
    scripts += [(named(page), script) for script in indented_blocks(page)]
    for place, script in scripts:
        for command in commands(script):
            words = gatlas_words(command)
            if words is None:
                program = command[0]
                assert program in OTHER_PROGRAMS or os.access(ROOT / program, os.X_OK), f"{place}: {program}"
                continue
            try:
                parse(words)
            except (typer.Exit, SystemExit):
                pytest.fail(f"{place}: {' '.join(command)} does nothing")
            except Exception as error:
                pytest.fail(f"{place}: {' '.join(command)}: {error!r}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_the_text_parse(page):
    for code in re.findall(r"`(gatlas [a-z]+(?:-[a-z]+)*(?: [^`]*)?)`", page.read_text()):
        ((_, *words),) = commands(" ".join(code.split()))
        verbs = click_group().commands
        assert words[0] in verbs, code
        command = verbs[words[0]]
        if len(words) > 1 and words[1] in getattr(command, "commands", {}):
            command = command.commands[words[1]]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word != "-"}
        assert options <= known | {"--help"}, code


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_pages_and_headings(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_links_every_page():
    linked = {link.partition("#")[0] for link in links(ROOT / "docs/index.md")}
    assert linked >= {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_paths_exist(page):
    text = page.read_text().partition("\n## Real files")[0]  # which lists paths in other repositories
    for path in IN_TREE.findall(text):
        assert (ROOT / path).exists(), path
    for script in re.findall(r"\b(?:tests|examples)/[\w/]+\.(?:py|sh|sbatch)\b", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_names_of_the_package_exist(page):
    for name in re.findall(r"`(?!gatlas\.json)((?:gatlas|io)(?:\.[A-Za-z_]+)+)", page.read_text()):
        pkgutil.resolve_name(name if name.startswith("gatlas") else f"gatlas.{name}")


def test_the_layout_names_what_is_there():
    (layout,) = (block.text for block in blocks(ROOT / "docs/contributing.md", "text"))
    listed = tree(layout)
    for path in listed:
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path
    for folder in ("gatlas", "gatlas/io", "gatlas/systems", "examples"):
        for path in (ROOT / folder).iterdir():
            name = f"{folder}/{path.name}/" if path.is_dir() else f"{folder}/{path.name}"
            shown = path.is_dir() or folder in ("gatlas", "examples")
            assert name in listed or not shown or path.name.startswith("_"), name


def test_the_floors_are_those_that_are_tested():
    (text,) = re.findall(r"^`errors`.*?\.$", (ROOT / "docs/contributing.md").read_text(), re.M | re.S)
    assert [set(re.findall(r"`(\w+)`", floor)) for floor in text.split("<")] == FLOORS


def test_every_file_format_is_described():
    page = (ROOT / "docs/formats.md").read_text()
    for each in registry.FORMATS:
        assert each.name in page or each.suffixes[0] in page, each


def test_pictures_are_small():
    for path in (ROOT / "docs/images").iterdir():
        assert path.stat().st_size < 200_000, path


# Running them -------------------------------------------------------------------------------------------------------

ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # small work does not wait for other threads
RUN = [page for page in PAGES if page.name != "CONTRIBUTING.md" and blocks(page, "sh") + blocks(page, "python")]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """A folder of small files under the names that the pages use, and a program `gatlas` that works little."""
    from tests.helpers.doc_inputs import write_inputs

    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=named)
def test_every_block_runs(page, inputs, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(inputs, folder)
    environment = {
        **os.environ,
        **ONE_THREAD,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    chosen = [block for language in ("sh", "python") for block in blocks(page, language) if block.not_run is None]
    for block in chosen:
        program = ["bash", "-euo", "pipefail"] if block.language == "sh" else [sys.executable]
        done = subprocess.run(
            [*program, "-c", block.text], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.place}\n{done.stderr}"


def test_exceptions_are_marked_where_they_take_effect():
    for page in PAGES:
        marks = len(re.findall(r"^<!-- not run", page.read_text(), re.M))
        assert marks == sum(block.not_run is not None for block in blocks(page, "sh")), page
