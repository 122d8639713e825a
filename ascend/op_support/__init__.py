"""Which operators a version of CANN takes, and which engine runs them."""
