"""A storage that follows a server: a FileStorage with everything that the server's storage has."""
