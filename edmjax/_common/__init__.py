"""What every room shares: checks of arguments, pytrees, user functions, types. Private."""
