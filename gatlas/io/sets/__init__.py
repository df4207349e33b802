"""Many files as one input: folders, patterns, tar shards, captions."""
