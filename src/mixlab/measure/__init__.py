"""Measurement of time, memory and multiply-accumulates, and a description of the machine."""
