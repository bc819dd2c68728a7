"""The same function, faster: the plan that a short trial on this machine decides."""
