"""Faults of the machine: a kill at any moment, a full disk, two runs at once."""
