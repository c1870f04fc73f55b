"""Targets to start from; EXTERNAL_TARGET takes them by their names."""
