"""sixtykey: an EC2-Instance-Connect-compatible key agent whose keys live sixty seconds."""

__version__ = "0.2.0"
