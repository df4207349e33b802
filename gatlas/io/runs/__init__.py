"""Files of runs that can be resumed: folders of trainings, checkpoints of fits."""
