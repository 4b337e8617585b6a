"""The analyst's workbench: a history, or the running service's state, as sections that a person reads.

    history --study--> lines, everybody's features and segment
    sales/      what was sold, and can it be believed     segments/   how many, who, and what they buy
    action/     who moves, and what to do about it        outlook/    who will stop, and what customers are worth
    origin/     the notebook that this grew from
    sections (exhibit) --report, page--> one HTML file

Features, clusters and names come from the modules that the service runs: what an analyst sees is what the topic says.
"""
