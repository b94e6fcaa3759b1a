"""The command line: one file a verb, what is printed where in `screen`."""
