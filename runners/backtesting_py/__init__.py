# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strategies of backtesting.py, live and unmodified. This folder alone knows that library, and has its licence.

A runner's process imports it when a topology asks for it; what leaves the process are the bus's own messages.
"""
