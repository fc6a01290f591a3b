"""One file a page: `layout()` says what is where, `register()` the short callbacks that fill it."""
