"""The engine, against the real llama.cpp with the small model and against stand-ins for its bad days."""
