"""How operators of the default domain differ between opsets 11 and 20, one step at a time."""
