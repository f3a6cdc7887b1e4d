"""What a state is besides its arrays: who made it, and that its arrays are its own."""
