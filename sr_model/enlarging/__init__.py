"""What enlarging is made of: pictures of all kinds, tiles, and how much memory there is."""
