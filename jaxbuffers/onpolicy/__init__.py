"""On-policy experience: rollouts, minibatches, returns and filters of trajectories."""
