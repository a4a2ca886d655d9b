"""Pictures to patches: what there is, where it is cut, and a data set made part by part."""
