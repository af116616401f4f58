"""The names that ZEO 5 and 6 gave to commands; what they do is in :mod:`ZEO.commands`."""
