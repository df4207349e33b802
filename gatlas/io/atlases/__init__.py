"""Files of atlases and of their statistics."""
