"""Query a server over HTTP: its runs, their controls and commands; from Python and from a terminal."""
