"""Starting llama.cpp's server for a model file."""
