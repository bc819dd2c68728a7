"""Which one to take: models trained alike, or published weights by folds, and the verdict with its page."""
