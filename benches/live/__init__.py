"""Measures the live job on real servers; `__main__.py` says what."""
