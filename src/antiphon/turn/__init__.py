"""One turn of the model: render, constrain, call the engine, parse, route."""
