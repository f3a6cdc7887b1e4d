"""Private: what every state has in common. It knows what made it, and its arrays are its own."""
