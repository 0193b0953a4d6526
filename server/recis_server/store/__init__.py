"""Points, runs, events and commands on disk, behind one interface."""
