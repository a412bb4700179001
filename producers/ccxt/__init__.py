"""Any ccxt exchange: `provider.py` is the contract, `taps.py` what each venue's frames say."""
