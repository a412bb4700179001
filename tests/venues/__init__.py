"""The venue laboratory: local venues that speak the real protocols, driven by bars, with limits and planned faults."""
