"""The `handful` command, also as `python -m handful`."""


def main() -> None:
    """Entry point of the command; Ctrl-C is heeded while its code is still being loaded, too."""
    try:
        from handful.cli.commands import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
