"""Train, evaluate, simulate …: callable with a composed config, and from the command line."""
