"""Options of `gatlas score`, a class for each measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError
from gatlas.io.splats.options import drop_invalid_option, up_option


@dataclass(frozen=True)
class ConsistencyOptions(Options):
    """Score how well views of an object agree on one 3D object.

    VIEWS is a folder of pictures with a transforms.json, a folder of such folders, or a tar of them; - is a tar on
    standard input. No other weights or truth are needed. Transparency is put on white. A table goes to standard output,
    or all figures as JSON to FILE.

    field (Watson et al. 2023, 3DiM): Gaussians without view-dependent color are fitted to 90 % of the views, and PSNR
    and SSIM are measured on the others, over several splits. FID is not measured. Blank views agree with each other,
    and noise of little contrast has a high PSNR: look at SSIM and at epipolar, too.

    epipolar: SIFT keypoints of neighboring views are matched, and the residuals of the matches to the given cameras
    make a score from 0, as good as chance, to 1. A view whose matches no camera explains beyond chance, as those of
    noise, of a blank view or of another object, counts as 0, and so does a picture that is the same from several sides.
    The score depends on texture: compare sets of views of the same object, or with --reference.

    Example: gatlas score consistency views/ --reference true-views/
    """

    measure: Literal["field", "epipolar", "both"] = option("both", help="Measure; see above.")
    reference: str | None = option(
        None, metavar="VIEWS", help="True views, on which the same is measured for comparison."
    )
    splits: int = option(4, min=1, help="Fits of field, each with other held-out views.")
    count: int = option(2048, "-n", min=16, help="Gaussians of a fit of field.")
    iterations: int = option(600, min=1, help="Optimization steps of a fit of field.")
    resolution: int = option(128, min=16, help="Largest side of the pictures of field in pixels; larger are reduced.")
    seed: int = option(0, min=0, help="Random seed; the same seed gives the same bytes on the CPU.")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians, as in fit."
    )


@dataclass(frozen=True)
class FidelityOptions(Options):
    """Score splats, atlases and meshes against the meshes or the views that they stand for.

    Against a mesh, PSNR, SSIM, LPIPS, the IoU of the silhouettes and the error of the depth are means over views on a
    lattice between those that fit trains on, over white; chamfer distance, F-score and normal consistency are of what
    these views see of either surface. Lengths are in radii of the reference, whose unit ball both are brought into.
    Against VIEWS, a folder of pictures with their cameras, the same cameras are rendered; depths and surfaces are not
    measured. LPIPS needs weights, and is "not measured" without them.

    A table goes to standard output, with mean, median and worst of several objects; --json FILE writes all figures
    instead, and -o DIR/ a file per object, with a manifest: run again, it resumes, and shards share the folder.
    gatlas score table DIR/ shows such results together, and --json merges them into what one call writes.

    Example: gatlas score fidelity fits/*.ply --reference 'meshes/{stem}.glb'
    """

    reference: str = option(
        metavar="MESH|VIEWS", help="What the objects stand for; {stem} in it is the name of each object."
    )
    views: int = option(16, min=1, max=10_000, help="Views of a reference mesh.")
    resolution: int | None = option(
        None,
        min=16,
        max=4096,
        help="Side of the pictures in pixels, larger VIEWS are reduced; default 256 for a mesh, VIEWS as they are.",
    )
    held_out: bool = option(False, help="Compare only those of the VIEWS that fit holds out of the photos it is given.")
    units: Literal["auto", "own", "ball"] = option(
        "auto",
        help="Units of the cameras of VIEWS: the object's own, as of photos, or those of its unit ball, as of renders; "
        "auto takes what fits better, and says so.",
    )
    points: int = option(20_000, min=100, help="Points of each surface.")
    threshold: float = option(0.01, above=0, help="Distance that counts as the same place for the F-score, in radii.")
    reference_up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None, metavar="AXIS", help="Vertical axis of the reference mesh, as it was given to fit --up; default y."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option()
    drop_invalid: bool = drop_invalid_option()
    lpips_weights: str | None = option(
        None, metavar="PATH", help="Weights of LPIPS: a .pth or .safetensors file, or a folder; default torch's cache."
    )
    seed: int = option(0, min=0, help="Random seed of the points of the surfaces.")
    plot: str | None = option(None, metavar="FILE.png", output=".png", help="Write a histogram of each figure.")


@dataclass(frozen=True)
class PosesOptions(Options):
    """Score found cameras against true ones.

    FOUND is a transforms.json, as pose-pnp writes it, or a folder with one or with a COLMAP model: a scene. Photos are
    matched by their names. Rotations are in degrees, positions in per cent of the true distance to --target. Cameras of
    another world and scale, as structure from motion finds them, are moved onto the true ones with --align similarity;
    or --unscaled takes rotations and directions of motion relative to the first photo. AUC@5, @10
    and @20 are areas under the recall curve of the larger of both errors, over the photos of all scenes together, too:
    for pairs with --unscaled this is the measure of SuperGlue and NoPoSplat. ATE is the root mean squared error of the
    positions after a similarity (Umeyama) moved them onto the true ones.

    Photos under "not_found" count as never recalled; with --every, so do photos of the truth that FOUND does not name.

    Example: gatlas score poses poses.json --truth photos/transforms.json
    """

    truth: str = option(metavar="TRUE", help="True cameras, as FOUND; {stem} in it is the name of each scene.")
    unscaled: bool = option(False, help="Cameras have another world and scale: errors relative to the first photo.")
    align: Literal["none", "similarity"] = option(
        "none", help="Before errors are measured, move the found positions onto the true ones by this (Umeyama)."
    )
    target: str | None = option(
        None, metavar="X,Y,Z", help="Point to which distances count; default where the true optical axes meet."
    )
    every: bool = option(False, help="Count photos of the truth that FOUND does not name as not found.")
    plot: str | None = option(None, metavar="FILE.png", output=".png", help="Write a histogram of each figure.")

    def validate(self) -> None:
        """Raise a GatlasError where a target or a similarity is given for cameras without scale."""
        self.require(self.target is None or not self.unscaled, "target", "is not for --unscaled")
        self.require(self.align == "none" or not self.unscaled, "align", "is not for --unscaled")


def inception_option() -> Any:
    """Return the option --inception."""
    return option(
        None,
        metavar="FILE",
        help="Inception's weights for FID and KID, as pytorch-fid and torch-fidelity publish them.",
    )


def clip_option() -> Any:
    """Return the option --clip."""
    return option(None, metavar="DIR", help="Folder of CLIP in transformers' format, of any size.")


@dataclass(frozen=True)
class DistributionOptions(Options):
    """Score a set of generated splats or atlases against a reference set.

    Without weights: coverage, minimum matching distance (MMD) and 1-NNA (0.5 where the sets are alike) on the distance
    between the centers of the Gaussians; the diversity of the samples of a prompt, their mean distance from
    each other; and for each sample the nearest object of the reference with its distance, which is small for a copy:
    give the training set as --reference to look for those. With weights: FID and KID of renders, and FID on features
    of CLIP.

    Prompts are those that gatlas sample recorded in atlases, or of --prompts. Both sets are compared in the unit ball:
    objects in own units are brought into it.

    Example: gatlas score distribution samples/ --reference objects/ --inception inception.pth
    """

    reference: tuple[str, ...] = option(
        (), metavar="SET", help="Objects of the reference set: a file, folder, pattern or tar shard; repeatable."
    )
    prompts: str | None = option(None, metavar="CAPTIONS", help="Captions of the generated objects, by their names.")
    points: int = option(2048, min=16, help="Points of an object, drawn from its Gaussians' centers.")
    distance: Literal["chamfer", "wasserstein"] = option(
        "chamfer",
        help="Distance of two objects: chamfer, or wasserstein (exact transport of all points; slower), which also "
        "sees how the points are spread.",
    )
    views: int = option(8, min=1, help="Views of an object for FID, KID and CLIP-FID, on a circle around it.")
    resolution: int = option(256, min=32, max=1024, help="Side of their pictures in pixels.")
    inception: str | None = inception_option()
    clip: str | None = clip_option()
    seed: int = option(0, min=0, help="Random seed of the points and of KID's subsets.")
    drop_invalid: bool = drop_invalid_option()
    plot: str | None = option(None, metavar="FILE.png", output=".png", help="Write a histogram of each figure.")

    def validate(self) -> None:
        """Raise a GatlasError where there is no reference."""
        if not self.reference:
            raise GatlasError("--reference is missing: name the set that the generated one is compared with")


@dataclass(frozen=True)
class TextOptions(Options):
    """Score generated splats or atlases against the prompts that they were made for.

    CLIP score (100 x cosine) and R-precision, the share of samples whose own prompt is the nearest of all, are of
    renders from 8 sides over white, with CLIP from a local folder; the VQA score of the same renders needs the package
    t2v_metrics and a local folder. Without weights, --against compares each sample with the objects that captions
    belong to: is its own the nearest in shape, by the chamfer distance, and in mean color?

    The prompt of a sample is the one that gatlas sample recorded in its atlas, or the caption of its name.

    Example: gatlas score text samples/ --prompts captions.json --clip clip-vit-base-patch32
    """

    prompts: str = option(metavar="CAPTIONS", help="All prompts: a file of captions by name, as for train.")
    clip: str | None = clip_option()
    vqa: str | None = option(None, metavar="DIR", help="Folder of the models of t2v_metrics, for the VQA score.")
    vqa_model: str = option("clip-flant5-xxl", metavar="NAME", help="Its model.")
    against: str | None = option(
        None, metavar="SET", help="Objects that the captions belong to, by name: a folder, pattern or tar shard."
    )
    views: int = option(8, min=1, help="Views of an object, on a circle around it.")
    resolution: int = option(256, min=32, max=1024, help="Side of their pictures in pixels.")
    drop_invalid: bool = drop_invalid_option()
    plot: str | None = option(None, metavar="FILE.png", output=".png", help="Write a histogram of each figure.")


@dataclass(frozen=True)
class TableOptions(Options):
    """Show scores that were written as JSON: one run in full, or several side by side.

    SCORES is a file that a measure wrote with --json, or a folder that it filled with -o DIR/: a run. One run is shown
    object by object; of several the means are, next to the published figures of the methods that gatlas implements,
    which are marked as claimed: their authors measured them, on other objects. --json FILE writes the document of one
    run, or the rows of several.

    Example: gatlas score table first.json second.json
    """

    merge: bool = option(False, help="The files are of one run, as shards write them: put them together.")
    measured_only: bool = option(False, help="Leave out the published figures.")
    plot: str | None = option(
        None, metavar="FILE.png", output=".png", help="Write a histogram of each figure of a run."
    )
