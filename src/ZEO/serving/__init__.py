"""What a server does for its clients: calls, commits, invalidations."""
