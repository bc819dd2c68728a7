"""What it costs: time, memory, multiply-accumulates, and the machine they were measured on."""
