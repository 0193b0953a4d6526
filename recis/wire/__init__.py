"""The records that cross the wire, their codec and the client's half of the session; knows no socket and no torch."""
