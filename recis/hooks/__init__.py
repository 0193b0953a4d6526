"""The hooks; each name is imported when it is first asked for."""
