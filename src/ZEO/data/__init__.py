"""What a database holds: copied, compared, verified, backed up and restored."""
