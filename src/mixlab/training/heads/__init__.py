"""A head in closed form on published weights: the first answer."""
