"""The load test of the HTTP service."""
