"""What evaluation is made of: pairs of pictures, comparisons, and the search for leaks."""
