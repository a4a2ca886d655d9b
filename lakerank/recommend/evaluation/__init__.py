"""How good recommendations are: accuracy, ranking, reach and bias, with intervals, on plain arrays."""
