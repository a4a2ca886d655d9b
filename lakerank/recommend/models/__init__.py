"""Recommenders: `base.py` says what one is, `registry.py` has them by name."""
