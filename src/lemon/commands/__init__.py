"""The subcommands of `lemon`, by theme. Each module adds parsers; work is imported when it runs."""
