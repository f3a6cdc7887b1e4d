"""What five programs that exist ask of a replay buffer, written as their authors would write it with this library."""
