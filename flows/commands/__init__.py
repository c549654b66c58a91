"""The commands of `elsa`: a function's signature is a command's arguments, its docstring the help."""
