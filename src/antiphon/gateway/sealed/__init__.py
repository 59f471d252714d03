"""Sealed transport at the gateway: requests opened, run through the same application, sealed."""
