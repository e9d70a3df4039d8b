"""What each command does; a module is loaded by the command line that asks for it."""
