"""Faults, tried on the real daemon: nothing acknowledged is lost, and all works again after."""
