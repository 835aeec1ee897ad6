"""What each command does. The command line only parses."""
