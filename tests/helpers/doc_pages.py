"""The README and the pages of docs/ as their parts: code blocks, links, headings, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^    .+\n)+", re.M)
_SEPARATORS = {"|", "&&", "||", ";", "&", "(", ")"}
_REDIRECTIONS = {">", "<", ">>"}


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int  # of its first line of code, from 1
    language: str  # "" of an indented block
    text: str
    not_run: str | None  # the reason

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """The fenced blocks of a language, in the order of the page."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start("text")) + 1, match["language"], match["text"], match["why"])
        for match in _BLOCK.finditer(text)
        if match["language"] == language
    ]


def indented_blocks(page: Path) -> list[str]:
    """The blocks indented by four spaces, without the indent; fenced blocks do not count."""
    return [
        re.sub(r"^    ", "", match[0], flags=re.M) for match in _INDENTED.finditer(_BLOCK.sub("", page.read_text()))
    ]


def prose(page: Path) -> str:
    """The text without code blocks and tables."""
    text = _INDENTED.sub("", _BLOCK.sub("", page.read_text()))
    return re.sub(r"^\|.*\n", "", text, flags=re.M)


def commands(script: str) -> list[list[str]]:
    """The words of each simple command of a shell script, without redirections."""
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        current: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if word in _SEPARATORS:
                if current:
                    found.append(current)
                current = []
            elif word in _REDIRECTIONS:
                skip = True
            elif skip:
                skip = False
            else:
                current.append(word)
    return found


def gatlas_words(command: list[str]) -> list[str] | None:
    """The words that a command hands to gatlas, also through torchrun or a Slurm script; None of another program."""
    while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
        command = command[1:]
    if command[:1] == ["gatlas"]:
        return command[1:]
    if command[:1] == ["torchrun"]:
        return command[command.index("gatlas") + 1 :]
    for script, verb in (("examples/slurm/job.sbatch", []), ("examples/slurm/train.sbatch", ["train"])):
        if command[:1] == ["sbatch"] and script in command:
            return verb + command[command.index(script) + 1 :]
    return None


def links(page: Path) -> list[str]:
    """The targets of links and pictures, without those on the web."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text()))
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown viewer gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tree(text: str) -> set[str]:
    """The paths of a drawn file tree: four spaces of indent per folder; two spaces end the names of a line."""
    found, folders = set(), []
    for line in filter(str.strip, text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 4
        names = line.strip().partition("  ")[0].split()
        folders = [*folders[:depth], names[-1].rstrip("/")]
        found |= {"/".join([*folders[:depth], name]) for name in names}
    return found
