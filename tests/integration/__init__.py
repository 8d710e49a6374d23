"""Real daemons over loopback, driven from outside: by the command line, the socket, signals."""
