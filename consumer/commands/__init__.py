"""What the command line does, a module a verb or a group of verbs."""
