"""The embedded stack behind `meatlizard up`: real servers, our processes and one supervisor over them."""
