"""Run the command line as `python -m handful`."""

from handful.cli.commands import main

main()
