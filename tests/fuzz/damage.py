"""A damaged input: which file of a valid one is changed, and how. It follows from the reader, the seed and a number."""

from __future__ import annotations

from random import Random

from tests.fuzz.damage_archives import NPZ, TAR, TORCH, gzipped, npy, safetensors
from tests.fuzz.damage_bytes import BYTES, LONGEST, Damage
from tests.fuzz.damage_json import JSON, json_lines
from tests.fuzz.damage_pictures import GLB, JPEG, PNG, WEBP
from tests.fuzz.damage_text import NAMES, TEXT, ply_header

Files = dict[str, bytes]  # by the path below the input's folder

OWN: dict[str, tuple[Damage, ...]] = {
    ".json": JSON,
    ".gltf": JSON,
    ".jsonl": (json_lines, json_lines, *TEXT),
    ".npz": NPZ,
    ".npy": (npy,),
    ".torch": TORCH,
    ".pth": TORCH,
    ".safetensors": (safetensors,),
    ".tar": TAR,
    ".gz": (gzipped,),
    ".spz": (gzipped,),
    ".ply": (ply_header, ply_header, *TEXT),
    ".png": PNG,
    ".jpg": JPEG,
    ".webp": WEBP,
    ".glb": GLB,
    **dict.fromkeys((".obj", ".mtl", ".txt", ".csv", ".names", ".out"), TEXT),
}


def damaged(seed: Files, rng: Random, fixed: tuple[str, ...] = ()) -> tuple[Files, str]:
    """Return the files that differ (b"" may mean empty) and the name of the first that does. `fixed` ones stay."""
    name = _chosen([name for name in seed if name not in fixed], rng)
    changed = {name: seed[name]}
    if rng.random() < 0.02:
        return {name: rng.choice((b"", b"\0", b"{}", seed[rng.choice(sorted(seed))], rng.randbytes(100)))}, name
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        own = OWN.get(suffix_of(name), ())
        how = rng.choice(own if own and rng.random() < 0.7 else BYTES)
        changed[name] = how(changed[name], rng)[:LONGEST]
    return changed, name


def _chosen(names: list[str], rng: Random) -> str:
    """A file: each kind as often as another, but pictures seldom where there are other files."""
    kinds = sorted({suffix_of(name) for name in names})
    weights = [0.25 if kind in (".png", ".bin") and len(kinds) > 1 else 1.0 for kind in kinds]
    kind = rng.choices(kinds, weights)[0]
    return rng.choice([name for name in sorted(names) if suffix_of(name) == kind])


def suffix_of(name: str) -> str:
    return "." + name.rpartition(".")[2].lower()


__all__ = ["NAMES", "OWN", "Files", "damaged", "suffix_of"]
