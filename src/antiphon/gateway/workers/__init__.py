"""Several gateway processes on one port: who starts them, what they share, how they are one."""
