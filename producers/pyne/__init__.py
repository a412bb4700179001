"""PyneCore's own plugins, hosted unmodified: `plugin.py` is the contract, `seat.py` the thread of one."""
