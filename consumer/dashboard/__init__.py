"""The dashboard: what `consumer.serving.queries` answers, as pages that keep themselves up to date.

server.py    the process: Streamlit's settings, the port, the end
board.py     what pages ask, kept for a moment, with what hinders newer answers
app.py       the script that Streamlit runs for each visitor: sign-in, navigation, the page
standing.py  what is to be said of an old, empty or unreachable state: pure
pieces.py    tables and figures as HTML, every text escaped: pure
plots.py     figures of plotly
page_*.py    one page each
"""
