"""Sizes of what pyproject.toml declares, in the environment that runs this: the base, and what each extra adds to it.

Run: python -m tests.benchmarks.bench_dependencies in an environment with gatlas and its extras. `own` is the package
itself, `with` it and all that it needs, `adds` what of that nothing else of the base (for an extra: of the base) needs,
in MB of installed files; `import` the CPU seconds of its first import in a new process, less an empty process.
"""

import argparse
import re
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.declared import requirements

MODULES = {
    "pot": "ot", "pillow": "PIL", "opencv-python-headless": "cv2", "usd-core": "pxr", "dracopy": "DracoPy",
    "scikit-image": "skimage", "fast-simplification": "fast_simplification", "t2v-metrics": "t2v_metrics",
}  # fmt: skip


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def size(name):
    """Bytes of the installed files of one distribution."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0
    paths = (file.locate() for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def applies(requirement):
    return requirement.marker is None or requirement.marker.evaluate(default_environment() | {"extra": ""})


@cache
def closure(name):
    """The distribution and all that it needs, as far as they are installed."""
    found, left = set(), [normalized(name)]
    while left:
        current = left.pop()
        if current in found:
            continue
        found.add(current)
        try:
            needed = metadata.requires(current) or []
        except metadata.PackageNotFoundError:
            continue
        left += [normalized(each.name) for each in map(Requirement, needed) if applies(each)]
    return frozenset(found)


def declared():
    """Return the names that apply here by extra; of the base under ""."""
    return {
        extra: [normalized(each.name) for each in found if applies(each)] for extra, found in requirements().items()
    }


def import_seconds(name):
    module = MODULES.get(name, name.replace("-", "_"))

    def seconds(code):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime if done.returncode == 0 else None

    seconds(f"import {module}")  # compiles its modules
    measured = seconds(f"import {module}")
    return None if measured is None else max(0.0, measured - seconds("pass"))


def megabytes(names):
    return f"{sum(map(size, names)) / 1e6:,.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="packages, instead of all")
    only = parser.parse_args().only
    extras = declared()
    base = frozenset().union(*map(closure, extras[""]))
    missing = [name for name in base if not size(name)]
    print("not installed:", ", ".join(sorted(missing)) or "none")
    print(f"base: {len(base)} packages, {megabytes(base)} MB; gatlas itself {megabytes(['gatlas'])} MB")
    print("| package | of | own | with | adds | import |\n|---|---|---:|---:|---:|---:|")
    for extra, names in extras.items():
        if extra == "test":
            continue
        for name in names if only is None else set(names) & set(only):
            others = base if extra else frozenset().union(*(closure(each) for each in names if each != name))
            seconds = import_seconds(name)
            shown = "not installed" if seconds is None else f"{seconds:.2f}"
            figures = [megabytes([name]), megabytes(closure(name)), megabytes(closure(name) - others), shown]
            print("| " + " | ".join([name, extra or "base", *figures]) + " |", flush=True)
    for extra, names in extras.items():
        if extra:
            print(f"{extra}: adds {megabytes(frozenset().union(*map(closure, names)) - base)} MB")


if __name__ == "__main__":
    main()
