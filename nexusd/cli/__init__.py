"""The command line `nexus`: a client of the daemon's socket, and nothing more.

argv -> options (which daemon, which output) -> usage (cyclopts binds the rest to a command) -> a command module, which
calls the SDK and returns an outcome -> output, which prints it for people or for programs. Command modules are
imported when they are used: the first answer must come within 150 ms.
"""
