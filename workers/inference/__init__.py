"""The node's worker: runs turns on llama.cpp and streams what it writes."""
