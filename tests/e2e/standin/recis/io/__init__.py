"""A folder that recis-monitor does not have."""
