"""The camera around an object where none is given: numbers alone, for what must not import numpy."""

DEFAULT_FOV = 47.0  # degrees; with DEFAULT_DISTANCE the unit ball fills the picture
DEFAULT_DISTANCE = 2.6  # from the center, in radii of the object
