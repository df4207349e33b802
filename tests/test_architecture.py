"""The rules of the house: who may import whom, and who may open a file."""

import ast
import graphlib
import re
from functools import cache
from pathlib import Path

import pytest

import gatlas
from gatlas.systems import SYSTEMS

PACKAGE = Path(gatlas.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [
    {"errors", "lazy", "locks", "trust"},
    {"config", "jit"},
    {"types"},
    {"geometry"},
    {"images"},
    {"raster", "transport", "io"},
    {"meshes", "metrics"},
    {"convert", "fit", "pose", "sfm", "atlas", "diffusion", "models", "render"},
    {"inspection", "prune", "score", "notebook"},
    {"datasets"},
    {"systems"},
    {"train", "batch"},
    {"cli"},
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def room(path):
    """The package or module at the top level that a file belongs to; None for gatlas/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if first in ("__init__", "__main__") else first


def imported_rooms(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "gatlas":
                yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
            elif (node.module or "").startswith("gatlas."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("gatlas."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_come_from_lower_floors(path):
    own = room(path)
    if own is None:
        return
    for other in imported_rooms(tree_of(path)):
        assert other == own or FLOOR_OF[other] < FLOOR_OF[own], f"{own} imports {other}"


def test_rasterizer_and_files_share_a_floor():
    assert FLOOR_OF["io"] == FLOOR_OF["raster"], "neither may import the other"


GROUND = {"errors", "config", "types", "geometry", "images"}


def test_networks_import_the_ground_floors_only():
    for path in MODULES:
        if room(path) == "models":
            assert set(imported_rooms(tree_of(path))) - {"models"} <= GROUND, path


def test_only_the_command_line_imports_typer():
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
                assert room(path) == "cli" or "typer" not in {name.split(".")[0] for name in names}, path


def module_name(path):
    return ".".join(["gatlas", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


NAMES = {module_name(path) for path in MODULES}


def imported_modules(tree):
    """The modules of ours that a tree imports when it is run, in functions too."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    if isinstance(tree, ast.ImportFrom):
        full = (f"{tree.module}.{alias.name}" for alias in tree.names)
        yield from (name if name in NAMES else tree.module for name in full)
    elif isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imported_modules(child)


@pytest.mark.parametrize("package", sorted({room(path) for path in MODULES} - {None}))
def test_no_package_has_an_import_circle(package):
    paths = {module_name(path): path for path in MODULES if room(path) == package}
    graph = {name: (set(imported_modules(tree_of(path))) & set(paths)) - {name} for name, path in paths.items()}
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError that names the modules


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
REFINEMENT = ("pose", "noposplat")  # pose --refine has a procedure of that paper


OPENERS = {
    "open", "fdopen", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "read_text", "read_bytes", "write_text",
    "write_bytes", "fromfile", "tofile", "savez", "imread", "imwrite", "unlink", "rename", "mkdir", "makedirs",
    "loadtxt", "savez_compressed", "rmtree", "save_file", "load_file", "safe_open", "mkdtemp", "scandir",
}  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_io_opens_files(path):
    if room(path) in ("io", "locks"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            devnull = any(isinstance(arg, ast.Attribute) and arg.attr == "devnull" for arg in node.args)
            assert name not in OPENERS or devnull, f"line {node.lineno} calls {name}"


def test_only_io_uses_numpys_files():
    for path in MODULES:
        if room(path) == "io":
            continue
        for node in ast.walk(tree_of(path)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("np", "torch")
            ):
                assert node.attr not in ("load", "save"), f"{path}: line {node.lineno}"


# What decodes foreign bytes, and the one module that uses it, which bounds what it takes and words what it raises; the
# vocabulary that tokenizers learned in this process is not foreign.
DECODERS = {
    "json.load": "", "json.loads": "io/json_reader.py models/words.py", "json.JSONDecoder": "io/json_reader.py",
    "np.load": "", "np.fromfile": "", "np.lib.format.read_array": "", "np.lib.format.open_memmap": "",
    "np.lib.format.read_array_header_1_0": "io/array_reader.py", "tarfile.open": "io/sets/shards.py",
    "Image.open": "io/images.py", "imageio.imread": "", "cv2.imread": "", "cv2.imdecode": "",
    "torch.load": "io/models/torch_file.py", "torch.jit.load": "", "pickle.load": "", "pickle.loads": "",
    "safe_open": "io/models/tensors.py", "load_file": "", "from_pretrained": "io/models/pipeline_parts.py",
}  # fmt: skip
WITH_ONE_NAME = ("json", "pickle", "tarfile", "zipfile", "PIL.Image")  # imported whole, so that the names above are all


def dotted(node):
    """A name with what it is looked up in, as `json.loads`; of a call's result, the last part alone."""
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else node.attr
    return node.id if isinstance(node, ast.Name) else ""


@cache
def used_names(path):
    """The names that a file uses, as `json.loads` and as `loads`."""
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, (ast.Attribute, ast.Name))]
    return {dotted(node) for node in nodes} | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_foreign_bytes_are_decoded_in_one_place_each():
    found = {name: set() for name in DECODERS}
    for path in MODULES:
        for name in used_names(path) & set(DECODERS):
            found[name].add(path.relative_to(PACKAGE).as_posix())
        for node in ast.walk(tree_of(path)):
            assert not isinstance(node, ast.ImportFrom) or node.module not in WITH_ONE_NAME, f"{path}: {node.module}"
    assert found == {name: set(places.split()) for name, places in DECODERS.items()}


def test_zips_are_read_by_the_reader_of_arrays_and_written_in_one_place():
    users = {path.relative_to(PACKAGE).as_posix() for path in MODULES if "zipfile.ZipFile" in used_names(path)}
    assert users == {"io/array_reader.py", "io/stored_zip.py"}


def test_no_pickle_is_ever_run():
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                wanted = ("allow_pickle", "weights_only")
                options = {each.arg: ast.unparse(each.value) for each in node.keywords if each.arg in wanted}
                assert options.get("allow_pickle", "False") == "False", f"{path}: line {node.lineno}"
                if dotted(node.func) == "torch.load":
                    assert options["weights_only"] == "True", f"{path}: line {node.lineno}"


def test_no_file_outside_its_package_names_a_system():
    for path in MODULES:
        tree = tree_of(path)
        documented = [node for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)]
        docs = {id(node.body[0].value) for node in documented}
        texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
        words = " ".join([*map(str, texts), *imported_modules(tree)])
        for name, package in SYSTEMS.items():
            own = path.is_relative_to(PACKAGE / "systems" / package.rpartition(".")[2])
            if not own and path != PACKAGE / "systems" / "registry.py" and (room(path), name) != REFINEMENT:
                found = [each for each in (name, package) if each in words]
                assert not found, f"{path} names {found}"


OTHERS = {"_replace", "_asdict", "_fields", "_exit", "_repr_png_", "_repr_html_"}  # named tuples, os, notebooks
GSPLAT = {"_quat_scale_to_covar_preci", "_fully_fused_projection"}
STAND_INS = {"pretended_cuda.py", "gsplat_twins.py"}  # for parts of torch and gsplat, whose insides they need


def test_tests_use_public_names():
    private = re.compile(r"_[a-z]\w*")
    for path in Path(__file__).parent.rglob("*.py"):
        for node in [] if path.name in STAND_INS else ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") not in ("self", "cls"):
                names = [node.attr]
            if isinstance(node, ast.Constant) and str(node.value).startswith("gatlas."):  # what is to be replaced
                names = str(node.value).split(".")
            found = {name for name in names if private.fullmatch(name)} - OTHERS - GSPLAT
            assert not found, f"{path}: line {node.lineno}"


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} - {None} <= set(FLOOR_OF)


def test_no_module_shares_a_vague_name():
    vague = {"utils", "common", "helpers", "core", "misc", "manager", "data", "info"}
    assert not vague & {path.stem for path in MODULES}


def test_public_names_load_on_first_use():
    for name in gatlas.__all__:
        assert getattr(gatlas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gatlas.nothing


def test_no_class_name_has_two_meanings():
    places = {}
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_say_what_is_returned_or_done(path):
    tree = tree_of(path)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            first = (ast.get_docstring(node) or "-").split()[0]
            assert first not in {"What", "Whether", "Where", "How", "Which", "Who"}, getattr(node, "name", "module")


def test_shapes_are_checked_while_tests_run():
    import numpy as np
    from jaxtyping import TypeCheckError

    from gatlas.geometry.cameras import look_at

    with pytest.raises(TypeCheckError, match="eyes"):
        look_at(np.zeros((2, 4)))
