"""Pictures to training patches: sources, extraction, and a data set that is made part by part."""
