"""Other people's passes under our contract and our checks."""
