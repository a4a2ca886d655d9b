"""Recommenders: `contract.py` says what one is, `registry.py` has them by name."""
