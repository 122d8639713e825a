"""Networks written from their specification."""
