"""Fuzzing with atheris: `make fuzz`, FUZZ_SECONDS for each target."""
