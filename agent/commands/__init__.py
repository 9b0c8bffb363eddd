"""The operator's commands, a module each: USAGE, HELP, OPTIONS and run(options, words)."""
