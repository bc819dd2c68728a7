"""How good one model is: its evaluation, its mistakes, and what goes with it when it is published."""
