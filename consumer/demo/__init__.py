"""The whole job on an embedded broker and store, shown while it runs and verified at its end."""
