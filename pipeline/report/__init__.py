"""What a flow found, as one web page that opens offline, and as JSON."""
