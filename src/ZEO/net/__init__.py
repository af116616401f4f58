"""The network, clocks and threads: the only room that imports socket, selectors and ssl."""
