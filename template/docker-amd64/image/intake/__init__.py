"""Reads what a project lists as its packages, in every format that people have.

`discovery.discover` finds the files, `reader.read` says of each line whether it is taken, changed
or left out, and why. Nothing here writes a file. `python -m intake` prints the same as JSON.

Python 3.10 or newer. `family`, `lists`, `names`, `text` and `yaml_nodes` need only PyYAML, so that
programs without `packaging` can import them; the rest needs `packaging`, and tomllib or tomli for
TOML. template.sh reads `lists` and `text`, which need only the library of Python 3.8.
"""
