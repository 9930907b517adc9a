"""The dashboard: its panels as data, and what is made of them."""
