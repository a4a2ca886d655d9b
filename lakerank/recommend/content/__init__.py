"""Content-based recommendation: features of items, and weights and profiles learned from ratings."""
