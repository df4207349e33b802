"""What a call warns of."""

import warnings


def recorded(load, *args, **options):
    """The result of a call, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = load(*args, **options)
    return result, [str(each.message) for each in said]
