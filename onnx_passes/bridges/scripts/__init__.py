"""What runs in the child process of a script; nothing here is imported to list passes."""
