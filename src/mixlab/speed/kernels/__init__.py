"""Native kernels for CPUs: C++ that is compiled on the user's machine, and the functions that call it."""
