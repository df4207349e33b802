"""Resolution of gatlas and its extras by platform and Python, by uv's dry run: nothing is installed.

Run: python -m tests.benchmarks.resolve_platforms --uv uv. Prints a table: the number of packages, with a star where
wheels alone are not enough, and what uv says of such cells below it. Exit status 1 where a cell has no resolution.
Needs the network or a filled cache of uv.
"""

import argparse
import os
import subprocess
import sys

from tests.helpers.declared import PROJECT, requirements

PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def resolve(uv: str, platform: str, python: str, extra: str | None, *, source: bool) -> tuple[int | None, str]:
    """Return the number of packages, None where there is no resolution, and what uv says.

    With `source`, packages without a wheel may be built, which needs a compiler there.
    """
    command = [uv, "pip", "compile", str(PROJECT), "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-platform", platform, "--python-version", python]
    command += [] if source else ["--only-binary", ":all:"]
    command += [] if extra is None else ["--extra", extra]
    environment = {"MACOSX_DEPLOYMENT_TARGET": "14.0", **os.environ}  # uv's own choice is 13, which is not kept up
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if "==" in line]
    return (len(lines) if done.returncode == 0 else None), done.stderr.strip()


def cell(uv: str, platform: str, python: str, extra: str | None) -> tuple[str, str]:
    """Return the number of packages, marked where some have no wheel, or "none"; and what uv says of it."""
    count, said = resolve(uv, platform, python, extra, source=False)
    if count is not None:
        return str(count), ""
    count, error = resolve(uv, platform, python, extra, source=True)
    return ("none", error) if count is None else (f"{count} *", said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="uv's program")
    parser.add_argument("--python", nargs="*", default=PYTHONS)
    parser.add_argument(
        "--extra",
        nargs="*",
        default=[name for name in requirements() if name not in ("", "test")],
        help="those resolved beside the base",
    )
    options = parser.parse_args()
    faults, failed = [], False
    print("| platform | what | " + " | ".join(options.python) + " |")
    print("|---|---|" + "---:|" * len(options.python))
    for extra in (None, *options.extra):
        for name, platform in PLATFORMS.items():
            cells = []
            for python in options.python:
                text, said = cell(options.uv, platform, python, extra)
                cells.append(text)
                if said:
                    faults.append(f"{name}, Python {python}, {extra or 'base'}:\n{said}")
                failed |= text == "none"
            print(f"| {name} | {extra or 'base'} | " + " | ".join(cells) + " |", flush=True)
    print(*faults, sep="\n\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
