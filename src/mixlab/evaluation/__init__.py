"""How good: metrics as pure functions, and the yardsticks beside them."""
