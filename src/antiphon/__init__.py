"""Antiphon: the Harmony stack for people who run gpt-oss themselves."""
