"""``antiphon chat``: the agent in a terminal."""
