"""What is done to the server and to what it is sent, on purpose: ``python -m benchmarks.chaos``."""
