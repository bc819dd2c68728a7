"""Compare models on one data set, with intervals: trained from scratch, or published weights with fitted heads."""
