"""The flow of the guide: model, export, stages and the command line."""
