"""Networks that scores are measured with, from local files: Inception's weights, and a folder of CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline_parts import described, quiet, read_tokenizer
from gatlas.io.models.tensors import check_weights, fill, read_json, read_tensors, weight_files
from gatlas.io.models.torch_file import load_state
from gatlas.io.sets.digests import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import CLIPModel, CLIPTokenizer

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
NO_INCEPTION = (
    f"no Inception weights: name with --inception a file such as {INCEPTION} (91 MB) of "
    "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0, or pytorch-fid's of the same network"
)
NO_CLIP = (
    "no CLIP: name with --clip a folder in transformers' format, such as "
    "https://huggingface.co/openai/clip-vit-base-patch32 (605 MB)"
)
PUBLISHED = "it is not the file that pytorch-fid and torch-fidelity publish: download it again"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, where not stated


def load_inception_state(path: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the weights with these names and shapes; the classifier's are left out. Others are a GatlasError."""
    file = Path(path)
    if not file.is_file():
        raise GatlasError(f"{path}: no such file: {NO_INCEPTION}")
    stored = read_tensors([file]) if file.suffix == ".safetensors" else load_state(file)
    counted = {name for name in shapes if name.endswith("num_batches_tracked")}
    kept = {name: tensor.float() for name, tensor in stored.items() if not name.startswith(("fc.", "AuxLogits."))}
    needed = {name: shape for name, shape in shapes.items() if name not in counted}
    check_weights(file, {name: each for name, each in kept.items() if name not in counted}, needed, PUBLISHED)
    return kept


class ClipFolder(NamedTuple):
    """CLIP with what its folder says of pictures."""

    model: CLIPModel  # frozen, in evaluation mode, float32, on the CPU
    tokenizer: CLIPTokenizer
    side: int  # pixels of the pictures that it takes
    mean: tuple[float, ...]  # of RGB in [0, 1]
    deviation: tuple[float, ...]
    digests: dict[str, str]  # SHA-256 of the files with weights, by path


def load_clip(folder: str) -> ClipFolder:
    """Return CLIP of a folder in transformers' format: config.json, weights, tokenizer. Damage is a GatlasError."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    root = Path(folder)
    if not (root / "config.json").is_file():
        raise GatlasError(f"{folder}: has no config.json: {NO_CLIP}")
    config = read_json(root / "config.json")
    if config.get("model_type") != "clip":
        raise GatlasError(f"{folder}: describes {config.get('model_type')!r:.80} and not CLIP: {NO_CLIP}")
    pickled = root / "pytorch_model.bin"
    plain = pickled.is_file() and not any(root.glob("model*.safetensors*"))
    files = [pickled] if plain else weight_files(root, "model")
    with described(root / "config.json", "a CLIPModel"), quiet(), torch.device("meta"):
        model = CLIPModel(CLIPConfig.from_dict(config))
    fill(model, load_state(pickled) if plain else read_tensors(files, torch.float32), root)
    for module in model.modules():  # counted, not stored, so they are still on the meta device
        if "position_ids" in module._buffers:
            count = module.position_embedding.num_embeddings  # type: ignore[union-attr]
            module._buffers["position_ids"] = torch.arange(count).expand((1, -1))  # type: ignore[arg-type]
    vision: Any = model.config.vision_config
    side, mean, deviation = _preprocessing(root, int(vision.image_size))
    digests = {str(path): sha256_of(path) for path in files}
    return ClipFolder(model.float().eval().requires_grad_(False), read_tokenizer(root), side, mean, deviation, digests)


def _preprocessing(root: Path, side: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Return side, mean and deviation: of preprocessor_config.json where there is one."""
    path = root / "preprocessor_config.json"
    stated: dict[str, Any] = read_json(path) if path.is_file() else {}
    mean, deviation = (
        tuple(stated.get(name, other)) for name, other in (("image_mean", MEAN), ("image_std", DEVIATION))
    )
    numbers = all(isinstance(each, (int, float)) for each in (*mean, *deviation))
    if len(mean) != 3 or len(deviation) != 3 or not numbers or not all(each > 0 for each in deviation):
        raise GatlasError(f"{path}: damaged: image_mean and image_std must be three numbers each")
    return side, mean, deviation
