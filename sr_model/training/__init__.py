"""A training run: the step, optimisers, checkpoints, processes, samples."""
