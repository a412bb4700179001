"""CoinMarketCap: `provider.py` is the contract, `bars.py` makes bars of quotes."""
