"""Tests of what an operator runs: notification, daemon, units, rules, dashboards, manifests."""
