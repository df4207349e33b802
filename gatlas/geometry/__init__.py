"""Geometry as pure functions: cameras, rotations, frames, spherical harmonics, lenses."""
