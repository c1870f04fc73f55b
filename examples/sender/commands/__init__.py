"""One module for each command of `python -m examples.sender`: its options and its output."""
