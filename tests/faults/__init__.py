"""Faults on the real daemon: nothing acknowledged is lost, and everything works again after."""
