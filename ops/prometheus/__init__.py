"""The rules, and what is made of them."""
