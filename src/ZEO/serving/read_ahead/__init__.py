"""Records that a server sends before they are asked for, since a client will want them next."""
