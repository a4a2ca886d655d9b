"""Sessions, checkpoints, dense ids and arrays shared between tasks: what the rooms need of Spark."""
