"""Measures the collector beside Flume."""
