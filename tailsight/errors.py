"""What can go wrong in putting the parts together.

TailsightError
├── SettingsError   settings that cannot be used; the message says where, what was found, and what is valid
├── ServeError      a part cannot begin, or ended before it was to be stopped; the message names it
└── DemoError       the demo could not go on; the message says where
"""


class TailsightError(Exception):
    """Anything that a person can mend, told in one message."""


class SettingsError(TailsightError):
    """Settings that cannot be used."""


class ServeError(TailsightError):
    """A part that cannot begin, or that ended before it was to be stopped."""


class DemoError(TailsightError):
    """The demo could not go on."""
