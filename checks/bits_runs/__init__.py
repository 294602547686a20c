"""The runs that `checks/bits.py` makes with two versions of the package."""
