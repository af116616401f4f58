"""What clients may call, by family: each call is a method with its name in the table of calls."""
