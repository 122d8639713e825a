"""Contract, registry, pass lists, manager and model files."""
