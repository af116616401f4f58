"""Real servers and clients under everything that happens to processes, wires and disks."""
