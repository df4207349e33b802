"""Meshes as pictures: rendering, surface colors and sampling."""
