"""What the hook and every generated project know of the machine that they run on.

The hook imports this package; projects have a copy of it in docker-amd64/host/, which template.sh
calls as `python -B -m host`. Python 3.8 or later, standard library only.
"""
