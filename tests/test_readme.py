"""The README is short and has the two commands that .ci/run takes from it."""

import re

from tests.helpers.doc_pages import ROOT, indented_blocks, prose

README = ROOT / "README.md"


def test_it_has_at_most_900_words():
    assert len(prose(README).split()) <= 900


def test_the_two_commands_stand_directly_under_their_headings():
    text = README.read_text()
    found = [
        re.search(rf"^{heading}\n\n    (.+)\n", text, re.M)[1]
        for heading in ("### Run the main job", "### Run the tests")
    ]
    assert [block.strip() for block in indented_blocks(README)] == found
    assert found[0].endswith("examples/quickstart.sh")
    assert "pytest" in found[1]


def test_it_has_one_picture():
    assert len(re.findall(r"!\[", README.read_text())) == 1
