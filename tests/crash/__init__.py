"""Kill a child, kill a worker, cut the broker; then count in a ledger what was lost and what ran twice."""
