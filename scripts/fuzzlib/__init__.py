"""What scripts/fuzz.py is made of.

targets starts servers and reads their meters, sessions records what real clients send, mutations
and wrong make bad input of it, attack sends that, good is the client that must not notice, and
checks says what has to hold.
"""
