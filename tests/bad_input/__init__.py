"""The catalogue of bad input: (call, error class, words) by area. `test_bad_input.py` runs it."""
