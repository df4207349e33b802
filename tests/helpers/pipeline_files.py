"""A Stable-Diffusion-shaped pipeline folder with small random weights, in the layout that the world publishes."""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

WIDTH = 32  # of the text


def write_pipeline(folder, *, prediction_type="epsilon", seed=0, sample_size=8, channels=4, **unet):
    """Make the folder `folder` (which may not exist) and return it as a Path."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    write_index(folder)
    write_scheduler(folder / "scheduler", prediction_type)
    write_text_encoder(folder / "text_encoder", seed)
    write_tokenizer(folder / "tokenizer")
    small_base(seed=seed, sample_size=sample_size, channels=channels, **unet).save_pretrained(folder / "unet")
    return folder


def small_base(*, seed=0, sample_size=8, channels=4, **options):
    """A UNet with Stable Diffusion's blocks, a thousand times smaller."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            **{
                "sample_size": sample_size,
                "in_channels": channels,
                "out_channels": channels,
                "block_out_channels": (16, 32),
                "layers_per_block": 1,
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
                "attention_head_dim": 2,
                "norm_num_groups": 8,
                "cross_attention_dim": WIDTH,
                **options,
            }
        ).eval()


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def write_index(folder, **changes):
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.8.0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "requires_safety_checker": True,
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(folder / "model_index.json", {**index, **changes})


def write_scheduler(folder, prediction_type="epsilon", **changes):
    config = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.8.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction_type,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }
    write_json(folder / "scheduler_config.json", {**config, **changes})


def write_text_encoder(folder, seed=0):
    config = {
        "_name_or_path": "openai/clip-vit-large-patch14",
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,  # as in the published files: not the tokenizer's
        "hidden_act": "quick_gelu",
        "hidden_size": WIDTH,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": 1,
        "projection_dim": 16,
        "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0",
        "vocab_size": len(vocabulary()[0]),
    }
    write_json(folder / "config.json", config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPTextModel(CLIPTextConfig.from_dict(config))
    state = {"text_model." + name.removeprefix("text_model."): tensor for name, tensor in model.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77).expand((1, -1)).contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def vocabulary():
    """Tokens and merges: lower-case letters alone and at the end of a word, and the word "red"."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    merges = ["e d</w>", "r ed</w>"]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(pair.replace(" ", "") for pair in merges)]
    return {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}, merges


def write_tokenizer(folder):
    vocab, merges = vocabulary()
    write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    end = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start = {**end, "content": "<|startoftext|>"}
    write_json(
        folder / "special_tokens_map.json",
        {"bos_token": start, "eos_token": end, "pad_token": "<|endoftext|>", "unk_token": end},
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "bos_token": {"__type": "AddedToken", **start},
            "do_lower_case": True,
            "eos_token": {"__type": "AddedToken", **end},
            "errors": "replace",
            "model_max_length": 77,
            "name_or_path": "openai/clip-vit-large-patch14",
            "pad_token": "<|endoftext|>",
            "special_tokens_map_file": "./special_tokens_map.json",
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": {"__type": "AddedToken", **end},
        },
    )
