"""Who may do what: rights of clients, from what they have proved and what an operator allows."""
