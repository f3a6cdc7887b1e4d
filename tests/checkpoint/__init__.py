"""What a checkpoint promises."""
