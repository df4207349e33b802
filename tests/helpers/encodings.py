"""Likeness of encodings of texts."""

import torch


def centred_cosines(encodings):
    flat = encodings.flatten(1)
    unit = torch.nn.functional.normalize(flat - flat.mean(0))
    return (unit @ unit.T)[~torch.eye(len(flat), dtype=torch.bool)]
