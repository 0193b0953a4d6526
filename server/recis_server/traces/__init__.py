"""Profiler traces: receiving, keeping, summarising."""
