"""The analyst's workbench: a history, or the running service's state, as sections that a person reads.

    lines (pandas) ----------------> data_quality  exploration  products          what was sold
    ledger --population--> customers > rfm_scores  choosing_k  profiles  movement  who buys, in which segments
                                      actions  value  churn                        what to do, what to expect
    sections --page--> one HTML file

Features, clusters and names come from the modules that the service runs: what an analyst sees is what the topic says.
"""
