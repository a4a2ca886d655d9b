"""Blends of several recommenders: weights learned on what each user rated last."""
