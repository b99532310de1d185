"""How a prompt is read: words, and what is known of them."""
