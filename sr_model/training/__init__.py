"""What a training run is made of: the step, optimisers, checkpoints, processes, samples."""
