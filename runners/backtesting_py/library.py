# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is used of backtesting.py, private names included: the one file that imports it.

Some of these names are the library's own business, hence the narrow range of versions, the contract test, and the
self-test that a runner begins with (``trial.py``).
"""

from __future__ import annotations

import os
from importlib.metadata import version

os.environ.setdefault("TQDM_DISABLE", "1")  # a backtest would draw a progress bar

try:
    import backtesting
    from backtesting import Backtest, Strategy
    from backtesting._util import _Array, _Data, _Indicator, _indicator_warmup_nbars
    from backtesting.backtesting import Order, Trade, _Broker, _OutOfMoneyError
except ModuleNotFoundError as error:
    from ...bus.errors import Hopeless
    from ...bus.plugins import needs

    raise Hopeless(needs("a strategy of backtesting.py", str(error.name), "backtesting")) from None
except ImportError as error:
    from ...bus.errors import Hopeless

    raise Hopeless(
        f"backtesting.py {version('backtesting')} is none that strategies can be run with ({error}): "
        "pip install 'pynelive[backtesting]'"
    ) from None

__all__ = [
    "BROKER", "Array", "Backtest", "Broker", "Data", "Indicator", "Order", "OutOfMoney", "Strategy", "Trade", "warmup",
]  # fmt: skip

Array = _Array
Broker = _Broker
Data = _Data
Indicator = _Indicator
OutOfMoney = _OutOfMoneyError
warmup = _indicator_warmup_nbars
BROKER = backtesting.backtesting.__file__
"""The file whose warnings are about orders."""
