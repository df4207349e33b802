"""Where a photo was taken: the camera found in a splat scene, and cameras made better with the scene frozen."""
