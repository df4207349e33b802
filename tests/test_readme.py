"""What the README shows is what happens."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_library_example_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    quick = "FitOptions(count=60, iterations=2, views=3, resolution=32, held_out=1)"
    code = code.replace('FitOptions(profile="quick")', quick)
    code = code.replace("size=128", "size=8").replace('"examples/', f'"{ROOT}/examples/')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "rocket.png").stat().st_size > 1000


def test_every_command_of_the_readme_is_a_verb():
    from gatlas.cli import app

    verbs = {command.name for command in app.registered_commands}
    for verb in re.findall(r"^ {4}gatlas ([a-z-]+)", README, re.MULTILINE):
        assert verb in verbs
