"""The look-up API: what the commands read, over HTTP."""
