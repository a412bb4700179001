"""The dashboard: a sink that shows in browsers what the scripts see."""
