"""Matrix factorisation: SGD and Gibbs sampling over resident rating blocks, with implicit feedback and time effects."""
