"""The chaos lab: a world of real processes, harm done to it, and a comparison with a world that was left alone."""
