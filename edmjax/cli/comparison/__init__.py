"""What `edmjax compare` is made of: targets, methods, rows, tables and plots."""


class Mistake(ValueError):
    """What the user asked for cannot be done; the text says what to do."""
