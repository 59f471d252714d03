"""How to reach each engine raw: prompt ids in, completion ids out. Engines know no API."""
