"""A linear model between items, in closed form."""
