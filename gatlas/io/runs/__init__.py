"""What a run writes to be resumed: training runs and fit checkpoints."""
