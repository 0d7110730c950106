"""SIM's own stages: serving requests from an index of behaviours, and measuring it under load."""
