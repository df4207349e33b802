"""What pyproject.toml declares: described in docs/, used, and the same in the conda recipe; the containers."""

import re
from pathlib import Path

import pytest

from gatlas import __version__
from tests.helpers.declared import PROJECT, requirements
from tests.helpers.doc_pages import ROOT, anchors
from tests.test_architecture import MODULES

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

PAGE = ROOT / "docs/dependencies.md"
CONTAINERS = ROOT / "examples/containers"
CONDA = {"torch": "pytorch", "opencv-python-headless": "py-opencv"}  # names there
MODULES_OF = {
    "pot": "ot", "pillow": "PIL", "opencv-python-headless": "cv2", "usd-core": "pxr", "scikit-image": "skimage",
    "fast-simplification": "fast_simplification",
}  # fmt: skip
ONLY_TESTED_WITH = {"trimesh"}


def rows():
    """The lines of the table of packages: name, extra, …, places, reason."""
    table = PAGE.read_text().partition("## Each package")[2]
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in re.findall(r"^\| .*", table, re.M)][1:]


def declared():
    return sorted((each.name, extra) for extra, names in requirements().items() if extra != "test" for each in names)


def test_the_table_lists_what_is_declared():
    assert sorted((row[0], row[1]) for row in rows()) == declared(), "the table of docs/dependencies.md"


@pytest.mark.parametrize("name", sorted({name for name, _ in declared()} - ONLY_TESTED_WITH))
def test_what_is_declared_is_imported(name):
    module = MODULES_OF.get(name, name.replace("-", "_"))
    text = "|".join([rf"^\s*(import|from) {module}\b", rf"[\"']{module}[\"'.]", rf"torch\.utils\.{module}"])
    assert any(re.search(text, path.read_text(), re.M) for path in MODULES), f"nothing imports {module}"


def test_the_places_of_the_table_import_the_package():
    for row in rows():
        name, places = row[0], re.findall(r"`(gatlas/[\w/]+\.py)`", " ".join(row))
        module = MODULES_OF.get(name, name.replace("-", "_"))
        for place in places:
            assert re.search(rf"\b{module}\b", (ROOT / place).read_text()), (place, module)


def test_the_conda_recipe_asks_for_what_the_base_needs():
    recipe = yaml.safe_load((ROOT / "examples/conda/recipe.yaml").read_text())
    run = recipe["requirements"]["run"][1:] + recipe["requirements"]["run_constraints"]
    needed = set()
    for each in requirements()[""]:
        bounds = ",".join(sorted((str(bound) for bound in each.specifier), reverse=True))
        needed.add(f"{CONDA.get(each.name, each.name)} {bounds}")
    assert set(run) == needed
    assert recipe["context"]["version"] == __version__
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry.replace(" ", "") in PROJECT.read_text().replace(" ", "").replace('"', "")


def test_the_citation_is_of_this_version_and_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["version"] == __version__
    assert citation["license"] in PROJECT.read_text()


def sources(path):
    """What a Dockerfile or an Apptainer recipe copies from the checkout."""
    text = path.read_text()
    if path.suffix == ".def":
        for block in re.findall(r"^%files$\n((?:    .+\n)+)", text, re.M):
            yield from (line.split()[0] for line in block.splitlines())
    else:
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
            yield from line.split()[:-1]


def test_containers_copy_what_the_package_is_built_from():
    recipes = sorted(CONTAINERS.iterdir())
    assert [path.name for path in recipes] == ["Dockerfile", "Dockerfile.cuda", "gatlas-cuda.def", "gatlas.def"]
    for path in recipes:
        assert set(sources(path)) == {"pyproject.toml", "README.md", "LICENSE", "man", "gatlas"}, path
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert set(kept) == {"pyproject.toml", "README.md", "LICENSE", "man", "gatlas"}


def test_dockerfiles_have_known_instructions_only():
    known = {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    for path in CONTAINERS.glob("Dockerfile*"):
        text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
        words = [line.split()[0] for line in text.splitlines() if line.strip()]
        assert set(words) <= known, path
        assert words.index("USER") < words.index("ENTRYPOINT"), "nothing runs as root"


def test_apptainer_recipes_have_known_sections_only():
    for path in CONTAINERS.glob("*.def"):
        sections = re.findall(r"^%(\w+)", path.read_text(), re.M)
        assert {"files", "post", "runscript", "test", "help"} <= set(sections), path
        assert set(sections) <= {"files", "post", "environment", "runscript", "test", "labels", "help"}, path


def test_the_page_for_language_models_links_what_exists():
    page = ROOT / "docs/llms.txt"
    text = page.read_text()
    assert text.startswith("# gatlas\n\n> "), "the format is that of llmstxt.org"
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", text, re.M)
    assert len(links) > 10
    for link in links:
        path, _, anchor = link.partition("#")
        assert (page.parent / path).is_file(), link
        assert not anchor or anchor in anchors(page.parent / path), link
    listed = {Path(link).name for link in links}
    assert {each.name for each in (ROOT / "docs").glob("*.md")} - {"index.md"} <= listed
