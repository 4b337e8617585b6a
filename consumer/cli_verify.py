def run_verify(*a): raise NotImplementedError
