"""Files of photos and of their cameras."""
