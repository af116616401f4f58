"""What a server shows over HTTP: figures for programs, and a page for people."""
