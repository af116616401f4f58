"""A simulated world: processes, threads, clocks, networks and disks in one thread, from a seed."""
