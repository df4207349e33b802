"""Photos and their cameras."""
