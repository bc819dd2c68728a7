"""Which model to take: trained models or published weights compared, ranked and reported."""
