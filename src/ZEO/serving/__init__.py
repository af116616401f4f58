"""What a server does for its clients: read calls, commits, invalidations, hosting."""
