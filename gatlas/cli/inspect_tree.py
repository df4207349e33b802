"""The tree that `gatlas info` draws in a terminal: facts in facts as branches, faults in red."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from gatlas.inspection.findings import shown
from gatlas.io.visible import visible

if TYPE_CHECKING:
    from gatlas.inspection import Inspection


def drawn_tree(found: Inspection) -> str:
    """Return the facts and findings of a file as a tree, in the width and the colors of the terminal."""
    tree = Tree(Text.assemble((visible(found.name), "bold"), f": {visible(found.format)}"), guide_style="dim")
    _add_facts(tree, found.facts)
    for note in found.notes:
        tree.add(Text(f"note: {visible(note.removeprefix(f'{found.name}: '))}", style="dim"))
    for finding in found.findings:
        tree.add(Text.assemble(("wrong", "bold red"), f": {visible(str(finding))}"))
    console = Console()
    with console.capture() as captured:
        console.print(tree)
    return str(captured.get())


def _add_facts(tree: Tree, facts: dict[str, Any]) -> None:
    width = max((len(visible(str(name))) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            _add_facts(tree.add(Text(visible(str(name)), style="cyan")), value)
        else:
            label = f"{visible(str(name)):<{width}}  "
            tree.add(Text.assemble((label, "cyan"), visible(shown(value))))
