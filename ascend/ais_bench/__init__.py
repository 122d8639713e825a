"""ais_bench: run a compiled model on files, and measure it."""
