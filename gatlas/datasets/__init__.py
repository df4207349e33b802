"""Sets of samples to train on: atlases, and posed views of scenes."""
