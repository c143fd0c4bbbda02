"""The matcher, the questions and the tables in the browser: what Pyodide runs, unchanged."""
