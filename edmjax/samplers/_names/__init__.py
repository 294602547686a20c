"""The names that other packages give to samplers and schedules, and how a name is looked up."""
