"""The commands beside the servers: thin main()s over the library, one module each."""
