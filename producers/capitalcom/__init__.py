"""Capital.com: `provider.py` is the contract, `live.py` its streams, `rows.py` what its answers say."""
