"""A laboratory for read-ahead: the real server's and client's parts, a network that is computed."""
