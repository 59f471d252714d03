"""llama.cpp's server: run our own through xllamacpp, and talk to any raw.

`antiphon.engines.llama_server.process` starts one in a subprocess that dies with us,
`antiphon.engines.llama_server.client` is the engine.
"""
