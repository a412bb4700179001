"""The dashboard: a sink that browsers look at."""
