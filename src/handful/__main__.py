"""Run the command line as `python -m handful`."""

from handful.cli import main

main()
