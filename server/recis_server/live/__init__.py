"""What browsers are shown while it happens."""
