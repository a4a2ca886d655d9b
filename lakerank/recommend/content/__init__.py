"""What items are about, and what that says of users who rated others: features, and what is learned of them."""
