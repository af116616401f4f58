"""What a client does with its server: connecting, calling, checking its cache."""
