"""The readers that are fuzzed: what each is given, and how it is called on a folder of files."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from tests.fuzz import model_seeds, seeds, verbs
from tests.fuzz.damage import Files


@dataclass(frozen=True)
class Reader:
    """One reader, or a verb on what it reads."""

    read: Callable[[Path], Any]  # a folder to whatever was read
    seeds: Callable[[], list[Files]]
    share: int = 10  # of all inputs, against the other readers
    modules: str = ""  # that it imports, loaded before children are forked
    fixed: tuple[str, ...] = ()  # files that are not damaged
    named: bool = True  # its messages name a file
    seconds: float = 5.0  # of a processor, for one input


class RefusalsError(Exception):
    """What several readers of one input refused."""

    def __init__(self, errors: list[GatlasError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


def each(*calls: Callable[[], Any]) -> list[Any]:
    """Return what several readers make of one input. Where some refuse it, after all were tried, that is an error."""
    found, errors = [], []
    for call in calls:
        try:
            found.append(call())
        except GatlasError as error:
            errors.append(error)
    if errors:
        raise RefusalsError(errors)
    return found


def first(folder: Path) -> Path:
    """Return the main file of an input: the first by name."""
    return next(path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "WHY.txt")


def read_splat(folder: Path) -> Any:
    source = io.read(first(folder))
    return each(lambda: io.load_gaussians(source), lambda: io.load_gaussians(source, as_stored=True))


def read_mesh(folder: Path) -> Any:
    path = next(path for path in sorted(folder.iterdir()) if path.suffix in (".ply", ".obj", ".glb", ".gltf"))
    return io.load_mesh(path)


def read_atlas(folder: Path) -> Any:
    from gatlas.atlas.decoding import decode
    from gatlas.cli.terminal import about
    from gatlas.datasets.atlases import to_world

    path = first(folder)
    atlas = io.load_atlas(path)

    def decoded() -> Any:
        with about(str(path)):
            return decode(atlas)

    return atlas, each(lambda: to_world(atlas, str(path)), decoded)


def read_stats(folder: Path) -> Any:
    from gatlas.atlas.statistics import whitening

    stats = io.load_stats(first(folder))
    return stats, whitening(stats)


def read_matches(folder: Path) -> Any:
    from gatlas.io.photos.pose_file import read_matches

    return read_matches(io.read(first(folder)))


def read_scores(folder: Path) -> Any:
    from gatlas.cli.score_batch import read_document
    from gatlas.score.documents import merge_documents
    from gatlas.score.published import compare_runs
    from gatlas.score.tables import document_table, markdown, runs_table

    name = str(first(folder))
    document = read_document(name)
    rows = compare_runs({name: document})
    tables = [document_table(document), *(runs_table(score, held) for score, held in rows.items())]
    return merge_documents({name: document}), [markdown(table) for table in tables]


def read_permutation(folder: Path) -> Any:
    from gatlas.io.atlases import plane_cache

    plane_cache.SHIPPED = folder
    found = plane_cache.load_permutation(8, "equirectangular")
    assert found is None or sorted(found.tolist()) == list(range(64))
    return found


def read_transforms(folder: Path) -> Any:
    return each(lambda: io.load_cameras(folder), lambda: io.load_views(folder, side=8), lambda: io.load_points(folder))


def read_video(folder: Path) -> Any:
    from gatlas.io.photos.videos import video_frames

    return video_frames(first(folder), 4, folder / "frames").times


def read_scene(folder: Path) -> Any:
    from gatlas.io.photos.scenes import PhotoFolder

    scene = PhotoFolder(folder)
    return scene.viewmats, scene.Ks, scene.pictures([0])


def read_intrinsics(folder: Path) -> Any:
    from gatlas.io.photos.photo_loader import frame_masks, read_photos
    from gatlas.io.photos.photo_set import read_photo_set

    photo = str(folder / "000.png")
    one, other = str(folder / "a.json"), str(folder / "b.json")
    return each(
        lambda: read_photos([photo], source=one),
        lambda: frame_masks(other, [photo]),
        lambda: read_photo_set([photo], intrinsics=one, init=other),
    )


def read_clips(folder: Path) -> Any:
    from gatlas.io.photos.re10k import Clip, chunk_files, listed_keys, read_chunk

    found: list[Any] = []
    for path in chunk_files(folder):
        clips = [Clip(str(path), record) for record in read_chunk(path)]
        found += [(clip.Ks, clip.viewmats, clip.pictures(range(len(clip)))) for clip in clips]
        found.append(listed_keys(path.parent))
    return found


def read_captions(folder: Path) -> Any:
    from gatlas.io.sets.captions import load_captions

    found = load_captions(first(folder))
    assert all(text.strip() for texts in found.values() for text in texts)
    return found


def read_tar(folder: Path) -> Any:
    from gatlas.io.sets.captions import captions_in_shards
    from gatlas.io.sets.inputs import captions_of, list_columns
    from gatlas.io.sets.shards import list_members, read_member

    path = first(folder)

    def listed() -> Any:
        items = list_columns([str(path)])
        return [(io.read_item(item), captions_of(item.source)) for item in items], captions_in_shards(items)

    return each(lambda: read_stream(folder), lambda: [read_member(member) for member in list_members(path)], listed)


def read_stream(folder: Path) -> Any:
    from gatlas.io.sets.inputs import stream_objects
    from gatlas.io.sets.shards import stream_members

    return [one.captions for one in stream_objects(stream_members(first(folder)), (".npz",))]


def read_beside(folder: Path) -> Any:
    from gatlas.io.sets.captions import captions_beside
    from gatlas.io.sets.inputs import list_columns

    return captions_beside(list_columns([str(folder)]))


def read_manifest(folder: Path) -> Any:
    """Read a manifest as a batch does that continues: which results are there, and which are to be made."""
    from gatlas.batch.manifest import FolderResults, TarResults

    if (folder / "a.tar").exists():
        tar = TarResults(folder / "a.tar", ".ply", "fit")
        known = tar.known()
        done = [key for key, line in known.items() if tar.holds(line, None)]
        tar.check(known, list(known), done)
        return done
    results = FolderResults(folder, 0, 1, "fit")
    with results.opened():
        known = results.known()
    return [results.holds(line, folder / "a.ply") for line in known.values()]


def read_views_folder(folder: Path) -> Any:
    from gatlas.io.photos.views_folder import begun_views, stored_record

    return each(lambda: stored_record(folder), lambda: begun_views(folder))


def read_names(folder: Path) -> Any:
    path = first(folder)
    return each(lambda: io.load_names(path, null=path.suffix == ".names"), lambda: io.load_lines(path))


def read_lpips(folder: Path) -> Any:
    files = [path for path in folder.iterdir() if path.name != "WHY.txt"]
    return io.load_lpips_weights(files[0] if len(files) == 1 else folder).state


def read_view_tar(folder: Path) -> Any:
    from gatlas.io.photos.object_views import read_object_views

    return [(found.name, found.images, found.cameras) for found in read_object_views(str(first(folder)))]


def read_view_network(folder: Path) -> Any:
    from gatlas.io.models.tensors import check_weights, read_tensors, tensor_shapes
    from gatlas.models.lgm import weight_shapes
    from tests.helpers.small_lgm import TINIEST

    path = first(folder)
    tensor_shapes(path)
    weights = read_tensors([path])
    check_weights(path, weights, weight_shapes(TINIEST), "another network")
    return weights


def read_base(folder: Path) -> Any:
    from gatlas.io.models.pipeline import load_pipeline

    base = load_pipeline(folder)
    return base.unet, base.scheduler, base.text_encoder, _tokens(base)


def _tokens(pipeline: Any) -> Any:
    ids = pipeline.tokenizer(["a red ball"], padding="max_length", truncation=True, max_length=77)["input_ids"]
    return np.asarray(ids)


def read_run(folder: Path) -> Any:
    from gatlas.io.models.pipeline import load_model

    model, description, stats = load_model(folder / "r")
    return model.unet, model.scheduler, model.text_encoder, description, stats, _tokens(model)


def read_checkpoint(folder: Path) -> Any:
    from gatlas.io.runs.train_log import truncate_log
    from gatlas.io.runs.train_run import find_checkpoint, load_tensors

    def newest() -> Any:
        found = find_checkpoint(folder / "r", "latest")
        return found, None if found is None else dict(load_tensors(found))

    return each(newest, lambda: truncate_log(folder / "r", 4))


READERS: dict[str, Reader] = {
    "splat_ply": Reader(read_splat, seeds.splat_plys, 20, "gatlas.io.splats.ply"),
    "compressed_ply": Reader(read_splat, seeds.compressed_plys, 10, "gatlas.io.splats.compressed"),
    "dot_splat": Reader(read_splat, seeds.dot_splats, 4, "gatlas.io.splats.dot_splat"),
    "spz": Reader(read_splat, seeds.spzs, 10, "gatlas.io.splats.spz"),
    "spz4": Reader(read_splat, seeds.spz_streams, 15, "gatlas.io.splats.spz"),
    "ksplat": Reader(read_splat, seeds.ksplats, 10, "gatlas.io.splats.ksplat"),
    "gltf_splat": Reader(read_splat, seeds.gltf_splats, 20, "gatlas.io.splats.gltf_splats"),
    "sog": Reader(read_splat, seeds.sogs, 20, "gatlas.io.splats.sog"),
    "sog_meta": Reader(read_splat, seeds.unbundled_sogs, 20, "gatlas.io.splats.sog"),
    "mesh_ply": Reader(read_mesh, seeds.meshes_ply, 20, "gatlas.io.meshes.ply trimesh"),
    "obj": Reader(read_mesh, seeds.objs, 20, "gatlas.io.meshes.obj trimesh"),
    "gltf": Reader(read_mesh, seeds.gltfs, 30, "gatlas.io.meshes.gltf"),
    "draco": Reader(read_mesh, seeds.dracos, 10, "gatlas.io.meshes.gltf DracoPy"),
    "meshopt": Reader(read_mesh, seeds.meshopts, 10, "gatlas.io.meshes.gltf gatlas.io.meshes.meshopt"),
    "image": Reader(lambda folder: io.load_image(first(folder)), seeds.pictures, 30, "gatlas.io.images"),
    "atlas": Reader(
        read_atlas, seeds.atlases, 25, "gatlas.io.atlases.npz gatlas.datasets.atlases gatlas.atlas.decoding"
    ),
    "stats": Reader(read_stats, seeds.statistics_files, 15, "gatlas.io.atlases.npz gatlas.atlas.statistics"),
    "matches": Reader(read_matches, seeds.matches, 15, "gatlas.io.photos.pose_file"),
    "perm": Reader(read_permutation, seeds.permutations, 15, "gatlas.io.atlases.plane_cache", named=False),
    "npy": Reader(
        lambda folder: io.load_indices(first(folder)), seeds.index_maps, 15, "gatlas.io.atlases.gaussianverse"
    ),
    "resume": Reader(lambda folder: io.load_checkpoint(first(folder)), seeds.fit_snapshots, 15),
    "transforms": Reader(read_transforms, seeds.transforms, 25, "gatlas.io.photos.scenes gatlas.images.undistort"),
    "video": Reader(read_video, seeds.videos, 4, "av cv2 gatlas.io.photos.videos"),
    "scene": Reader(read_scene, seeds.transforms, 10, "gatlas.io.photos.scenes"),
    "intrinsics": Reader(read_intrinsics, seeds.intrinsics_files, 20, "gatlas.io.photos.photo_set"),
    "colmap_text": Reader(read_transforms, lambda: seeds.colmap_models(binary=False), 20, "gatlas.io.photos.colmap"),
    "colmap_bin": Reader(read_transforms, lambda: seeds.colmap_models(binary=True), 20, "gatlas.io.photos.colmap"),
    "srn": Reader(read_transforms, seeds.srn_folders, 12, "gatlas.io.photos.srn"),
    "layouts": Reader(read_transforms, seeds.other_layouts, 15, "gatlas.io.photos.scenes"),
    "re10k": Reader(read_clips, model_seeds.clips, 15, "torch gatlas.io.photos.re10k"),
    "scores": Reader(read_scores, seeds.score_files, 8, "gatlas.cli.score_batch gatlas.score.published"),
    "captions": Reader(read_captions, seeds.captions, 20, "gatlas.io.sets.captions"),
    "beside": Reader(
        read_beside,
        lambda: [{"a.npz": b"", "a.json": b'{"caption": "a"}', "b.npz": b"", "b.txt": b"words"}],
        5,
        "gatlas.io.sets.captions",
    ),
    "manifest": Reader(read_manifest, seeds.manifests, 20, "gatlas.batch.manifest"),
    "tar": Reader(read_tar, seeds.tars, 30, "gatlas.io.sets.shards gatlas.io.sets.captions"),
    "tar_stream": Reader(read_stream, seeds.packed_tars, 15, "gatlas.io.sets.shards gatlas.io.sets.inputs"),
    "names": Reader(read_names, seeds.name_lists, 5),
    "views_folder": Reader(read_views_folder, seeds.view_folders, 10, "gatlas.io.photos.views_folder"),
    "view_tar": Reader(read_view_tar, seeds.view_tars, 12, "gatlas.io.photos.object_views gatlas.images.undistort"),
    "view_network": Reader(
        read_view_network, model_seeds.view_networks, 8, "torch gatlas.io.models.tensors gatlas.models.lgm"
    ),
    "lpips": Reader(read_lpips, model_seeds.lpips_weights, 12, "torch gatlas.io.models.lpips_weights"),
    "base": Reader(read_base, model_seeds.base_pipelines, 4, "torch gatlas.io.models.pipeline"),
    "run": Reader(read_run, model_seeds.model_folders, 4, "torch gatlas.io.models.pipeline"),
    "checkpoint": Reader(read_checkpoint, model_seeds.checkpoints, 12, "torch gatlas.io.runs.train_run"),
    "cli_prune": Reader(verbs.verb("prune a.ply -n 2 --views 1 --resolution 16 -o {out}.ply"), seeds.splat_plys, 3),
    "cli_convert": Reader(verbs.verb("convert a.ply --rotate 0,90,0 -o {out}.spz"), seeds.splat_plys, 3),
    "cli_encode": Reader(verbs.verb("atlas-encode a.ply --size 2 -o {out}.npz"), seeds.splat_plys, 3),
    "cli_decode": Reader(verbs.verb("atlas-decode a.npz -o {out}.ply"), seeds.atlases, 5),
    "cli_stats": Reader(verbs.verb("normalize-stats a.npz -o {out}.npz"), seeds.atlases, 3),
    "cli_tar": Reader(verbs.verb("normalize-stats a.tar -o {out}.npz"), verbs.atlas_sets, 4),
    "cli_list": Reader(verbs.verb("atlas-decode --files-from list.txt -o {out}/"), verbs.many_objects, 2, named=False),
    "cli_merge": Reader(verbs.verb("normalize-stats --merge a.npz -o {out}.npz"), seeds.statistics_files, 3),
    "cli_render": Reader(
        verbs.verb("render a.ply --camera c.json --background black -o {out}.png"), verbs.cameras_seeds, 4
    ),
    "cli_mesh": Reader(verbs.verb("render a.obj --width 16 -o {out}.png"), seeds.objs, 4),
    "cli_glb": Reader(verbs.verb("render a.glb --width 16 -o {out}.png"), lambda: seeds.gltfs()[:1], 4),
    "cli_fit": Reader(verbs.verb(f"fit a.obj {verbs.FIT} -o {{out}}.ply"), seeds.objs, 2),
    "cli_photos": Reader(verbs.verb(f"fit . {verbs.FIT} -o {{out}}.ply"), seeds.transforms, 2),
    "cli_resume": Reader(verbs.fit_again, verbs.stopped_fits, 4, fixed=("a.obj",), named=False),
    "cli_batch": Reader(verbs.batch_again, verbs.batches, 4, fixed=("in/a.ply", "in/b.ply")),
    "cli_sample": Reader(
        verbs.verb("sample --model r --prompt red --steps 1 --device cpu -o {out}.npz"),
        model_seeds.model_folders,
        1,
        "torch gatlas.io.models.pipeline",
    ),
    "cli_train": Reader(
        verbs.verb(f"train in --stats stats.npz --steps 2 {verbs.TRAIN} --resume latest"),
        verbs.stopped_trainings,
        1,
        "torch",
        fixed=("in/a.npz", "in/b.npz"),
    ),
    "cli_pose": Reader(
        verbs.verb("pose-pnp p.png --scene a.ply --matches m.npz --fov 50 -o {out}.json"),
        verbs.matched_photos,
        3,
        named=False,
    ),
}

READERS |= {
    name: replace(reader, seconds=30.0)  # a verb works on what it reads, and kernels are loaded or compiled first
    for name, reader in READERS.items()
    if name.startswith("cli_")
}


def prepare(reader: Reader) -> list[Files]:
    """Import what the reader needs and return its valid inputs."""
    for module in reader.modules.split():
        importlib.import_module(module)
    return reader.seeds()
