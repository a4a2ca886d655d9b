"""Which items, or users, are alike: all pairs by sparse rows, exact, the best few of each kept."""
