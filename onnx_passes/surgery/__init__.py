"""Surgery that is no pass, because it takes other models or names: cut, join, edit by hand.

Like passes, these are checked: the result must be a valid model, and its numbers are compared.
"""
