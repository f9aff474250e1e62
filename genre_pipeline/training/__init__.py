"""Learning from the past: splits, batches, the one training loop, bundles, and which model deserves to serve."""
