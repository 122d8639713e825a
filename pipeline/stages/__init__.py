"""The flow in stages: a recipe, what each stage needs and makes, and what need not run again."""
