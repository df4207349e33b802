"""Pictures as arrays: resizing, cropping, compositing, color spaces, contact sheets."""
