"""ATC: its flags, its run, its reports and what to do about them."""
