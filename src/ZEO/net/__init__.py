"""The network, clocks and threads: the only package that imports socket, select and ssl."""
