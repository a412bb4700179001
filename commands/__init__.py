"""The command line: one module a command (or a family of them), loaded when it is called."""
