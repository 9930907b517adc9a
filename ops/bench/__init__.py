"""Measurements that are run by hand and printed with machine, versions, date and command; nothing here is part of the service."""
