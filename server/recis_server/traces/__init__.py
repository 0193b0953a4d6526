"""Profiler traces: receiving, storing, summarising."""
