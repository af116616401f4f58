"""What clients may call, by family: each call is a method of the name that the table of
:mod:`ZEO.wire.calls` gives it.
"""
