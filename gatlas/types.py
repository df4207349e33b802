"""The six nouns, and views of several sizes: frozen dataclasses of arrays that every verb speaks.

Fields are numpy arrays in the verbs that do not learn and torch tensors where gradients are needed; this module
imports neither. Values are post-activation, OpenCV, wxyz: what files store instead (logs, logits, glTF cameras)
exists only inside `gatlas.io`. Shapes are checked when a noun is made; a wrong one is a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gatlas.lazy import load_name

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    Array = Any  # a numpy array or a torch tensor


# Bounds of the natural log of a standard deviation in an object of radius 1: from flat discs to a fifth of the object.
# The fit stays inside them and the atlas stores nothing else.
LOG_SCALE_RANGE = (-9.0, -1.5)

# Bound of `Origin.growth`: at a half, the Gaussians of a level cover the area that all of them cover.
MAX_GROWTH = 0.5

# The value spaces of an atlas's planes. Every atlas file names them, so that no reader has to guess.
SPACES = {
    "offset": "position in the unit ball minus the cell's sphere point",
    "color": "sRGB, 0..1",
    "opacity": "alpha, 0..1; exactly 0 marks padding",
    # Raw scales have a kurtosis of 14.9 over real objects, clamped logs 1.6: a diffusion model can learn the latter.
    "scale": "natural log of the standard deviation relative to the unit ball, -9..-1.5",
    "rotation": "unit quaternion, wxyz, w >= 0",
}


def _check_shapes(noun: Any, **expected: tuple[int | str, ...]) -> None:
    """Every named field has its shape; equal letters must be equal sizes across the fields."""
    sizes: dict[str, int] = {}
    for name, shape in expected.items():
        actual = tuple(getattr(noun, name).shape)
        fits = len(actual) == len(shape) and all(
            size == (want if isinstance(want, int) else sizes.setdefault(want, size))
            for size, want in zip(actual, shape, strict=True)
        )
        if not fits:
            wanted = " ".join(str(sizes.get(str(want), want)) for want in shape)
            raise ValueError(f"{type(noun).__name__}.{name} must have shape [{wanted}], got {list(actual)}")


class _InNotebooks:
    """Pictures for notebooks: `gatlas.notebook` makes them and is loaded when one is asked for."""

    def _repr_png_(self) -> bytes | None:
        png: bytes | None = load_name("gatlas.notebook:png_of")(self)
        return png

    def _repr_html_(self) -> str:
        html: str = load_name("gatlas.notebook:html_of")(self)
        return html


@dataclass(frozen=True)
class Origin:
    """Origin of an object, carried through every pipe: `own units = position * scale + center`."""

    name: str = ""  # stem of the source file
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)  # object's own units
    scale: float = 1.0  # own units per unit of `means`
    # The object was moved into the unit ball. Else the scale is 1, and the center is 0 unless the object is so far from
    # the origin that float32 cannot hold it there: then positions are relative to it.
    normalized: bool = False
    grid: tuple[int, int] | None = None  # (height, width) where the Gaussians are pixel-aligned, row by row
    # Smallest and largest pixel that the Gaussians are for, in units of `means` (see `gatlas.geometry.cameras`), by
    # which a rasterizer chooses its blur: those of a fit's cameras, finer ones of an antialiased mesh. None: not known.
    pixel_sizes: tuple[float, float] | None = None
    # Center and radius, in units of `means`, of the ball at which pixels are measured; None: the unit ball.
    ball: tuple[float, float, float, float] | None = None
    antialiased: bool = False  # fitted to opacities that are lowered by as much as the blur widens the Gaussians
    # Levels of detail: the first so many Gaussians stand for the whole object, for each of these counts, which ascend
    # and end with all of them; (): only all of them do. To be shown, the scales of level n of N take the factor
    # (N / n)^growth: at 0 the level is the first Gaussians as they are.
    levels: tuple[int, ...] = ()
    growth: float = 0.0

    @property
    def recentered(self) -> bool:
        """True where positions are in own units but relative to a center: cameras in files are relative to 0."""
        return not self.normalized and any(self.center)

    def as_record(self) -> dict[str, Any]:
        """Return what an atlas holds of it, JSON-able; what later versions added only where it says something.

        An atlas orders the Gaussians anew, so that their levels of detail are none any more.
        """
        added = {"pixel_sizes": None, "ball": None, "antialiased": False}
        record = asdict(self)
        del record["levels"], record["growth"]
        return {name: value for name, value in record.items() if name not in added or value != added[name]}

    def scaled(self, center: tuple[float, float, float], scale: float) -> Origin:
        """The origin of Gaussians whose means became `means * scale + center`: the pixel sizes in the new units."""
        if self.pixel_sizes is None:
            return self
        x, y, z, radius = self.ball or (0.0, 0.0, 0.0, 1.0)
        moved = (x * scale + center[0], y * scale + center[1], z * scale + center[2], radius * scale)
        low, high = self.pixel_sizes
        return replace(self, pixel_sizes=(low * scale, high * scale), ball=moved)


@dataclass(frozen=True, eq=False)
class Gaussians(_InNotebooks):
    """A set of n 3D Gaussians."""

    means: Float[Array, "n 3"]  # world units
    quats: Float[Array, "n 4"]  # unit, wxyz
    scales: Float[Array, "n 3"]  # standard deviations along the rotated axes, > 0, world units
    opacities: Float[Array, " n"]  # [0, 1]
    sh: Float[Array, "n k 3"]  # k = (degree + 1)^2; degree 0 shows as sh * SH_C0 + 0.5 in sRGB
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        _check_shapes(self, means=("n", 3), quats=("n", 4), scales=("n", 3), opacities=("n",), sh=("n", "k", 3))
        if self.sh.shape[1] not in (1, 4, 9, 16):
            raise ValueError(f"Gaussians.sh must have 1, 4, 9 or 16 coefficients, got {self.sh.shape[1]}")

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def __getitem__(self, index: Any) -> Gaussians:
        """The Gaussians at a slice, an index array or a mask, with the same origin.

        A pixel grid and levels of detail do not survive; for one of the levels see `level`.
        """
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "origin"}
        return replace(self, **arrays, origin=replace(self.origin, grid=None, levels=(), growth=0.0))

    def level(self, count: int) -> Gaussians:
        """The level of detail of so many Gaussians: the first of them, as they are shown, with the levels below."""
        if count not in self.origin.levels:
            raise ValueError(f"count must be one of the levels {list(self.origin.levels)}, got {count}")
        levels = tuple(each for each in self.origin.levels if each <= count)
        first = self[:count]
        scales = first.scales * (len(self) / count) ** self.origin.growth if self.origin.growth else first.scales
        return replace(first, scales=scales, origin=replace(self.origin, grid=None, levels=levels))


@dataclass(frozen=True, eq=False)
class Cameras:
    """c pinhole cameras of one picture size."""

    viewmats: Float[Array, "c 4 4"]  # world -> camera, OpenCV: x right, y down, z forward
    Ks: Float[Array, "c 3 3"]  # pixels; the center of the first pixel is (0.5, 0.5)
    width: int
    height: int

    def __post_init__(self) -> None:
        _check_shapes(self, viewmats=("c", 4, 4), Ks=("c", 3, 3))
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Cameras need width and height >= 1, got {self.width} x {self.height}")

    def __len__(self) -> int:
        return int(self.viewmats.shape[0])

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each camera's picture."""
        return ((self.width, self.height),) * len(self)

    def __getitem__(self, index: Any) -> Cameras:
        """The cameras at a slice, an index array or a mask; an integer gives a set of one."""
        if _is_single(index):
            index = [_checked(index, len(self), "camera")]
        return replace(self, viewmats=self.viewmats[index], Ks=self.Ks[index])

    def __iter__(self) -> Iterator[Cameras]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class MixedCameras:
    """c pinhole cameras of several picture sizes, as photos of several cameras have."""

    viewmats: Float[Array, "c 4 4"]  # world -> camera, OpenCV
    Ks: Float[Array, "c 3 3"]  # pixels
    sizes: tuple[tuple[int, int], ...]  # width and height of each camera's picture

    def __post_init__(self) -> None:
        _check_shapes(self, viewmats=("c", 4, 4), Ks=("c", 3, 3))
        if len(self.sizes) != len(self) or any(side < 1 for size in self.sizes for side in size):
            raise ValueError(f"MixedCameras need {len(self)} sizes of width and height >= 1, got {self.sizes}")

    def __len__(self) -> int:
        return int(self.viewmats.shape[0])

    def __getitem__(self, index: Any) -> Any:
        """A set of one (`Cameras`) at an integer; at a slice, an index array or a mask `MixedCameras` of these."""
        if _is_single(index):
            i = _checked(index, len(self), "camera")
            return Cameras(self.viewmats[[i]], self.Ks[[i]], *self.sizes[i])
        sizes = tuple(self.sizes[i] for i in _positions(index, len(self)))
        return MixedCameras(self.viewmats[index], self.Ks[index], sizes)

    def __iter__(self) -> Iterator[Cameras]:
        return (self[i] for i in range(len(self)))


AnyCameras = Cameras | MixedCameras
SomeCameras = TypeVar("SomeCameras", bound=Cameras | MixedCameras)


@dataclass(frozen=True, eq=False)
class Views(_InNotebooks):
    """Pictures and the cameras that took them."""

    images: Float[Array, "c h w d"]  # RGB or straight (not premultiplied) RGBA, sRGB-encoded, [0, 1]
    cameras: Cameras

    def __post_init__(self) -> None:
        _check_shapes(self, images=("c", "h", "w", "d"))
        shape = tuple(self.images.shape)
        wanted = (len(self.cameras), self.cameras.height, self.cameras.width)
        if shape[:3] != wanted or shape[3] not in (3, 4):
            raise ValueError(f"Views.images must have shape {[*wanted, '3 or 4']}, got {list(shape)}")

    @property
    def channels(self) -> int:
        """3 for RGB, 4 for RGBA."""
        return int(self.images.shape[-1])

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: Any) -> Views:
        if not _is_single(index):
            return Views(images=self.images[index], cameras=self.cameras[index])
        first = range(len(self))[int(index)]  # a slice copies no picture
        return Views(images=self.images[first : first + 1], cameras=self.cameras[index])

    def __iter__(self) -> Iterator[Views]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class MixedViews(_InNotebooks):
    """Pictures of several sizes and the cameras that took them."""

    images: tuple[Float[Array, "_ _ d"], ...]  # all RGB or all straight RGBA, sRGB-encoded, [0, 1]
    cameras: MixedCameras

    def __post_init__(self) -> None:
        found = [tuple(image.shape) for image in self.images]
        wanted = [(height, width) for width, height in self.cameras.sizes]
        if [shape[:2] for shape in found] != wanted or len({shape[2:] for shape in found} | {(3,), (4,)}) > 2:
            raise ValueError(f"MixedViews.images must have shapes {wanted} and 3 or 4 channels, got {found}")

    @property
    def channels(self) -> int:
        """3 for RGB, 4 for RGBA."""
        return int(self.images[0].shape[-1])

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: Any) -> Any:
        """A set of one (`Views`) at an integer; at a slice, an index array or a mask `MixedViews` of these."""
        if _is_single(index):
            return Views(self.images[_checked(index, len(self), "view")][None], self.cameras[index])
        return MixedViews(tuple(self.images[i] for i in _positions(index, len(self))), self.cameras[index])

    def __iter__(self) -> Iterator[Views]:
        return (self[i] for i in range(len(self)))


AnyViews = Views | MixedViews


def join_cameras(
    viewmats: Float[Array, "c 4 4"], Ks: Float[Array, "c 3 3"], sizes: Sequence[tuple[int, int]]
) -> AnyCameras:
    """Return cameras with these widths and heights: `Cameras` where all are one size, else `MixedCameras`."""
    if len(set(sizes)) == 1:
        return Cameras(viewmats, Ks, *sizes[0])
    return MixedCameras(viewmats, Ks, tuple(sizes))


def _is_single(index: Any) -> bool:
    return hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0


def _checked(index: Any, count: int, noun: str) -> int:
    if not -count <= index < count:
        raise IndexError(f"{noun} {index} of {count}")
    return int(index)


def _positions(index: Any, count: int) -> list[int]:
    """The positions that a slice, a mask or an array of integers stands for."""
    if isinstance(index, slice):
        return list(range(count)[index])
    values = [each.item() if hasattr(each, "item") else each for each in index]
    if values and isinstance(values[0], bool):
        return [i for i, kept in enumerate(values) if kept]
    return [int(value) for value in values]


@dataclass(frozen=True, eq=False)
class Texture:
    """One image of base or emissive colors and how it repeats."""

    pixels: UInt8[Array, "h w 4"]  # sRGB-encoded RGB, linear alpha; row 0 is the top of the picture
    wrap: tuple[str, str] = ("repeat", "repeat")  # u, v: "repeat", "clamp" or "mirror"


@dataclass(frozen=True)
class Material:
    """Colors of a surface. The base color is texture x factor x vertex color, multiplied in linear light.

    Emissive x emissive texture is added to it, or to the lit base color, and the sum clipped to 1.
    """

    name: str = ""
    factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # linear RGBA
    texture: int = -1  # index into Mesh.textures; -1 is none
    alpha_mode: str = "OPAQUE"  # "OPAQUE", "MASK" or "BLEND"
    alpha_cutoff: float = 0.5  # of MASK
    double_sided: bool = True
    unlit: bool = False  # the file says that the color is final (KHR_materials_unlit)
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)  # linear RGB, >= 0; may be above 1
    emissive_texture: int = -1  # index into Mesh.textures, whose alpha does not count; -1 is none


@dataclass(frozen=True, eq=False)
class Mesh(_InNotebooks):
    """Triangles with materials in world units, glTF axes (x right, y up, z towards the viewer)."""

    vertices: Float[Array, "v 3"]  # world units
    faces: Int[Array, "f 3"]  # counter-clockwise from outside
    face_materials: Int[Array, " f"]  # index into materials
    uvs: Float[Array, "v 2"]  # glTF: (0, 0) is the top left corner of the texture, v runs down
    colors: Float[Array, "v 4"]  # linear RGBA vertex colors; ones where the file has none
    materials: tuple[Material, ...]
    textures: tuple[Texture, ...] = ()
    origin: Origin = field(default_factory=Origin)
    emissive_uvs: Float[Array, "v 2"] | None = None  # of the emissive textures; None where they are `uvs`

    def __post_init__(self) -> None:
        emissive_uvs = {} if self.emissive_uvs is None else {"emissive_uvs": ("v", 2)}
        _check_shapes(
            self,
            vertices=("v", 3),
            uvs=("v", 2),
            colors=("v", 4),
            faces=("f", 3),
            face_materials=("f",),
            **emissive_uvs,
        )


@dataclass(frozen=True, eq=False)
class Atlas(_InNotebooks):
    """Gaussians laid out as a square image: one Gaussian a cell. Values are raw, never whitened."""

    offset: Float[Array, "h h 3"]  # position in the unit ball minus the cell's sphere point
    color: Float[Array, "h h 3"]  # sRGB, [0, 1]
    opacity: Float[Array, "h h 1"]  # [0, 1]
    scale: Float[Array, "h h 3"]  # natural log of the standard deviation, relative to the unit ball
    rotation: Float[Array, "h h 4"]  # unit quaternion, wxyz, w >= 0
    meta: Mapping[str, Any]  # JSON-able; see docs of `gatlas.atlas`

    def __post_init__(self) -> None:
        _check_shapes(
            self,
            offset=("h", "h", 3),
            color=("h", "h", 3),
            opacity=("h", "h", 1),
            scale=("h", "h", 3),
            rotation=("h", "h", 4),
        )

    @property
    def size(self) -> int:
        """Side of the grid in cells."""
        return int(self.offset.shape[0])


@dataclass(frozen=True, eq=False)
class AtlasStats:
    """Per-pixel, per-channel statistics of many atlases, in raw units, that merge exactly."""

    mean: Float[Array, "h h 14"]  # channels in the order offset, color, opacity, scale, rotation
    m2: Float[Array, "h h 14"]  # sum of squared deviations from the mean
    count: int  # atlases
    meta: Mapping[str, Any]  # value spaces, sphere and plane layout that all the atlases share

    def __post_init__(self) -> None:
        _check_shapes(self, mean=("h", "h", 14), m2=("h", "h", 14))
